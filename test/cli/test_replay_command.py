# SPDX-License-Identifier: Apache-2.0
"""`selfocc replay`: occupancy of every set of a recording, without ROS."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from recorded_drives import write_drive

from selfocc_ros.cli import main


def test_every_set_is_written(tmp_path: Path, untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_drive(tmp_path / "drive", seconds=0.5)
    command = ["replay", str(bag), "--checkpoint", str(untrained), "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main([*command, "--json", str(tmp_path / "out.json")]) == 0
    summary = json.loads((tmp_path / "out.json").read_text())
    assert summary["sets"] == 5
    assert summary["cameras"] == ["back", "front", "left"]
    assert set(summary["median_ms"]) == {"decode", "geometry", "encode", "field"}
    files = sorted((tmp_path / "out").glob("*.npz"))
    assert [int(f.stem) - int(files[0].stem) for f in files] == [i * 100_000_000 for i in range(5)]
    for file, count in zip(files, summary["occupied_voxels"], strict=True):
        with np.load(file) as stored:
            assert stored["state"].shape == (200, 200, 16)
            assert int((stored["state"] == 1).sum()) == count
            assert stored["sdf"].shape == (200, 200, 16)
    assert list((tmp_path / "out").glob("*.png"))
    assert "5 sets" in capsys.readouterr().out


def test_fault_one_corrupt_camera_is_told_and_left_out(tmp_path: Path, untrained: Path) -> None:
    bag = write_drive(tmp_path / "drive", seconds=0.4, corrupt=("front",))
    command = ["replay", str(bag), "--checkpoint", str(untrained), "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main([*command, "--json", str(tmp_path / "out.json")]) == 0
    summary = json.loads((tmp_path / "out.json").read_text())
    assert summary["sets"] == 4
    assert "front" in summary["problems"]["front"]


def test_fault_no_set_can_be_used(tmp_path: Path, untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_drive(tmp_path / "drive", seconds=0.3, unmounted=("front", "left", "back"))
    assert main(["replay", str(bag), "--checkpoint", str(untrained), "--device", "cpu", "--json", "-"]) == 1
    assert json.loads(capsys.readouterr().out)["seconds_per_set"] is None


def test_fault_bad_input_is_one_sentence(tmp_path: Path, untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_drive(tmp_path / "drive", seconds=0.2)
    (tmp_path / "foreign.safetensors").write_bytes(b"not a checkpoint")
    (tmp_path / "file").write_text("")
    for arguments in (
        ["nowhere", "--checkpoint", str(untrained)],
        [str(bag), "--checkpoint", str(tmp_path / "foreign.safetensors")],
        [str(bag), "--checkpoint", str(untrained), "--cameras", "roof"],
        [str(bag), "--checkpoint", str(untrained), "--out", str(tmp_path / "file" / "out")],
    ):
        assert main(["replay", "--device", "cpu", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("selfocc: ")
        assert error.count("\n") == 1
