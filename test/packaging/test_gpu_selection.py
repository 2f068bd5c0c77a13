# SPDX-License-Identifier: Apache-2.0
"""`pytest -m gpu` on a machine that has torch and next to nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BARE = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {"cv2", "pyarrow", "rclpy", "rosbags", "scipy", "sensor_msgs", "tensorboard"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import pytest
sys.exit(pytest.main(["-m", "gpu", "--collect-only", "-q"]))
"""


def test_gpu_tests_are_found_where_little_is_installed(repository: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f".{os.pathsep}training"}
    done = subprocess.run(
        [sys.executable, "-c", BARE], cwd=repository, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "test_town_gpu.py" in done.stdout
    assert "error" not in done.stdout.lower()
