# SPDX-License-Identifier: Apache-2.0
"""The soak in short: every fault once or twice, nothing stale, nothing leaked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.fault, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SOAK = ROOT / "bench" / "soak.py"
FAULTS = 15


def test_faults_one_after_the_other_leave_nothing_behind(tmp_path: Path):
    figures_file = tmp_path / "soak.json"
    # One round of all faults, some twenty seconds.
    command = [sys.executable, str(SOAK), "--minutes", "0.1", "--period", "1.5", "--seed", "3", "--json"]
    # A bare checkout is found by the children too.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    done = subprocess.run(
        [*command, str(figures_file)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert figures_file.exists(), done.stdout + done.stderr
    figures = json.loads(figures_file.read_text())
    assert figures["stale"] == {}, done.stdout
    assert figures["exceptions"] == [], done.stdout
    assert figures["repeated"] == 0
    assert figures["node_exit"] == 0
    assert len(figures["faults"]) == FAULTS
    assert figures["files_end"] <= figures["files_half"] + 8  # shared memory of the last player may still be held
    assert figures["threads_end"] <= figures["threads_half"] + 4
    assert done.returncode == 0
