# SPDX-License-Identifier: Apache-2.0
"""`selfocc check`: words for people, JSON for programs, an exit status for scripts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from preset_drives import calibrations, write_preset_drive
from recorded_drives import write_drive

from selfocc_ros.cli import main


def test_a_sound_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_drive(tmp_path / "drive")
    assert main(["check", str(path), "--json", str(tmp_path / "report.json")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "The node can run on this recording."
    assert json.loads((tmp_path / "report.json").read_text())["ok"] is True


def test_a_lacking_recording_is_no_failure_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_drive(tmp_path / "drive", infos=False)
    assert main(["check", str(path), "--json", "-"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert report["advice"]


def test_the_nodes_parameter_file_tells_frames_and_an_option_goes_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_drive(tmp_path / "drive")
    params = tmp_path / "vehicle.yaml"
    params.write_text("/**:\n  ros__parameters: {base_frame: car}\n")
    assert main(["check", str(path), "--params", str(params)]) == 1
    assert "car" in capsys.readouterr().out
    assert main(["check", str(path), "--params", str(params), "--base-frame", "base_link"]) == 0
    params.write_text("/**:\n  ros__parameters: {cameras: [roof]}\n")
    assert main(["check", str(path), "--params", str(params)]) == 2
    assert "has no camera 'roof'" in capsys.readouterr().err


def test_fault_unreadable_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "noise.mcap").write_bytes(b"noise" * 100)
    assert main(["check", str(tmp_path / "noise.mcap")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("selfocc: ")
    assert captured.err.count("\n") == 1


def test_a_preset_and_a_calibration_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_preset_drive(tmp_path / "drive", "nuscenes2bag")
    calibration = tmp_path / "calibration.yaml"
    calibration.write_text(yaml.safe_dump(calibrations()))
    assert main(["check", str(path), "--preset", "nuscenes2bag", "--calibration-file", str(calibration)]) == 0
    told = capsys.readouterr().out
    assert "images on /cam_front/raw, calibration from a file" in told
    assert told.splitlines()[-1] == "The node can run on this recording."
    assert main(["check", str(path), "--preset", "nuscenes2bag"]) == 1
    told = capsys.readouterr().out
    assert "lacks: camera 'front' (/cam_front/raw) has no CameraInfo: give its intrinsics in calibration_file" in told


def test_fault_a_running_system_needs_ros(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "selfocc_ros.ros.live_check", None)  # so that importing it fails
    assert main(["check"]) == 2
    assert capsys.readouterr().err.startswith("selfocc: checking a running system needs ROS 2, source it first: ")
