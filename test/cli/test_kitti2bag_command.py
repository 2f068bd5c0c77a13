# SPDX-License-Identifier: Apache-2.0
"""`selfocc kitti2bag`: folders by default, words for people, JSON for programs, one sentence for bad input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from selfocc_ros.cli import main

sys.path.append(str(Path(__file__).parents[1] / "logs" / "kitti"))

from kitti_miniature import DRIVE, write_odometry, write_raw


def test_a_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (write_odometry(tmp_path, frames=3) / "velodyne" / "000002.bin").unlink()
    monkeypatch.chdir(tmp_path)
    assert main(["kitti2bag", "odometry", "--dataroot", ".", "--sequence", "08"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "bags/kitti_08/bag: 0.2 s, 3 images left, 3 images right, 2 scans, 3 poses",
        "1 scans are missing, the first is 000002.bin",
    ]
    assert main(["check", "bags/kitti_08/bag"]) == 0


def test_a_raw_drive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_raw(tmp_path, frames=2)
    out = tmp_path / "out"
    arguments = ["kitti2bag", "raw", "--dataroot", str(tmp_path), "--drive", DRIVE, "--out", str(out), "--no-lidar"]
    assert main([*arguments, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == {"left": 2, "right": 2}
    assert found["scans"] == 0
    assert found["poses"] == 3  # one more, before the first image
    assert (out / DRIVE / "bag" / "metadata.yaml").is_file()


@pytest.mark.fault
def test_fault_unknown_sequence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_odometry(tmp_path, frames=1)
    assert main(["kitti2bag", "odometry", "--dataroot", str(tmp_path), "--sequence", "99"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"selfocc: {tmp_path} has no sequence 99, found 08\n"
