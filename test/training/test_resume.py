# SPDX-License-Identifier: Apache-2.0
"""A run that is killed again and again ends with the weights of one that never was, bit by bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from selfocc_training.town_clips import Clip

STEPS, KILLS = 24, 10

# Imports once, also what comes late, and forks a process for every run: kills fall into training, not into imports.
NURSERY = """
import contextlib, json, os, sys
from pathlib import Path
import torch
with contextlib.suppress(ImportError):
    import torch.utils.tensorboard
from selfocc_training.config import load_train_config
from selfocc_training.town_clips import load_clip
from selfocc_training.trainer import Trainer, build_network, trained_config

torch.optim.AdamW(build_network(trained_config(load_train_config(sys.argv[1]))).parameters())
for line in sys.stdin:
    config, clip, out = json.loads(line)
    pid = os.fork()
    if pid == 0:
        trainer = Trainer(load_train_config(config), [load_clip(Path(clip))], Path(out))
        trainer.run(trainer.config.steps)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

TRAIN = """
model: MODEL
steps: STEPS
warmup: 5
save_every: 2
log_every: 1
data: {current_views: 1, anchor_views: 1, anchor_reach: 2, widest_gap: 2, widen_steps: 10, grid: [6, 8]}
loss: {background_from: 6}
"""


class Nursery:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, *arguments: Path) -> int:
        """Returns the process id of a new run."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        self._process.stdin.flush()
        return self.told()

    def told(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@pytest.fixture
def config(tmp_path: Path, small_tpv: Path) -> Path:
    path = tmp_path / "train.yaml"
    path.write_text(TRAIN.replace("MODEL", str(small_tpv)).replace("STEPS", str(STEPS)))
    return path


@pytest.fixture
def nursery(config: Path) -> Iterator[Nursery]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", NURSERY, str(config)]
    with subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True) as process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()


def rows(out: Path) -> int:
    curve = out / "curve.jsonl"
    return curve.read_text().count("\n") if curve.is_file() else 0


@pytest.mark.slow
def test_resume_after_ten_kills_is_bitwise_the_same(
    nursery: Nursery, config: Path, ground_clip: Clip, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.npz"
    np.savez(clip, **{name: value for name, value in vars(ground_clip).items() if isinstance(value, np.ndarray)})

    began = time.monotonic()
    nursery.start(config, clip, tmp_path / "straight")
    assert nursery.told() == 0
    step_s = (time.monotonic() - began) / STEPS

    rng, out = random.Random(7), tmp_path / "killed"
    for step in sorted(rng.sample(range(1, STEPS - 4), KILLS)):
        pid = nursery.start(config, clip, out)
        while rows(out) < step:
            os.kill(pid, 0)  # fails where the run has
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, step_s))  # anywhere in a step: the loss, the update, a file that is being written
        os.kill(pid, signal.SIGKILL)
        assert nursery.told() == -signal.SIGKILL
    nursery.start(config, clip, out)
    assert nursery.told() == 0

    straight, killed = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("straight", "killed"))
    assert straight["step"] == killed["step"] == STEPS
    for kind in ("model", "average"):
        assert straight[kind].keys() == killed[kind].keys()
        for name, value in straight[kind].items():
            assert torch.equal(value, killed[kind][name]), name
    curves = [(tmp_path / name / "curve.jsonl").read_text() for name in ("straight", "killed")]
    assert curves[0] == curves[1]
