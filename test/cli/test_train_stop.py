# SPDX-License-Identifier: Apache-2.0
"""`selfocc train`, stopped: one line that says where it is and how to go on, and the status that shells expect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import FAST, write_network

from selfocc_ros.cli import main, step_progress
from selfocc_training.town_clips import ClipPlan, clip_path

TRAIN = """
model: MODEL
bfloat16: false
log_every: 1
data:
  seeds: 1
  clip: {frames: 3, width: 64, height: 48}
  current_views: 1
  anchor_views: 1
  anchor_reach: 1
  widest_gap: 1
  grid: [6, 8]
"""


SLOW = """
import sys, time
from selfocc_ros.cli import find_training, main
find_training()
from selfocc_training import trainer
save_state = trainer.save_state

def save_slowly(path, state):
    time.sleep(8)  # Lightning looks after its processes every 5 s
    save_state(path, state)

trainer.save_state = save_slowly
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""
"""`selfocc` on a slow disk."""


@pytest.fixture
def run(tmp_path: Path) -> list[str]:
    """Arguments of a run whose one clip is already there: noise, seen by one camera."""
    write_network(tmp_path / "small.yaml", FAST)
    (tmp_path / "train.yaml").write_text(TRAIN.replace("MODEL", str(tmp_path / "small.yaml")))
    out = tmp_path / "out"
    (out / "clips").mkdir(parents=True)
    np.savez(
        clip_path(out / "clips", 100, 0, ClipPlan(frames=3, width=64, height=48)),
        images=np.random.default_rng(0).integers(0, 255, (3, 1, 3, 48, 64), dtype=np.uint8),
        intrinsics=np.array([[40.0, 40.0, 31.5, 23.5]], np.float32),
        sizes=np.array([[64.0, 48.0]], np.float32),
        odom_from_base=np.tile(np.eye(4), (3, 1, 1)),
        odom_from_camera=np.tile(np.eye(4), (3, 1, 1, 1)),
    )
    return ["train", str(tmp_path / "train.yaml"), "--out", str(out), "--device", "cpu", "--workers", "1"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_told_in_one_line(
    run: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signum: signal.Signals
) -> None:
    def stop(_self: object, step: int, _terms: dict[str, float], _left_s: float) -> None:
        if step % 2 == 0:
            os.kill(os.getpid(), signum)

    monkeypatch.setattr(step_progress.StepProgress, "__call__", stop)
    state = Path(run[3]) / "state.pt"
    for step in (3, 5):
        assert main(run) == 128 + signum
        told = capsys.readouterr().err.strip().splitlines()[-1]
        goes_on = "the same command goes on from there."
        assert told == f"selfocc: stopped after step {step} of 6000, saved in {state}; {goes_on}"


@pytest.mark.slow
def test_a_stop_of_two_processes_waits_for_a_slow_disk(run: list[str], tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="lightning is not installed")
    (tmp_path / "slow.py").write_text(SLOW)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(tmp_path / "slow.py"), *run, "--devices", "2"]
    out, told = Path(run[3]), tmp_path / "told.txt"
    with (
        told.open("w") as stream,
        subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, start_new_session=True) as process,
    ):
        while not (out / "curve.jsonl").is_file():
            assert process.poll() is None, told.read_text()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to both
    assert process.returncode == 128 + signal.SIGINT, told.read_text()
    step = torch.load(out / "state.pt", weights_only=True)["step"]
    assert told.read_text().count(f"selfocc: stopped after step {step} of 6000, saved in {out / 'state.pt'}; ") == 1


def test_a_lack_of_devices_is_told_in_one_sentence(run: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*run, "--devices", "0"]) == 2
    told = "selfocc: training takes at least one device and one node, found 0 and 1.\n"
    assert capsys.readouterr().err == told
