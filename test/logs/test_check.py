# SPDX-License-Identifier: Apache-2.0
"""`check_bag`: what is right is said to be right, and each fault is named with what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recorded_drives import write_drive

from selfocc_ros.logs import messages
from selfocc_ros.logs.check import check_bag
from selfocc_ros.logs.check_report import CheckReport, render_report
from selfocc_ros.logs.records import BagError
from selfocc_ros.logs.writer import BagWriter
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.sensing.rig_source import RigSource


def _advice(report: CheckReport) -> str:
    return " ".join(report.advice)


def test_a_sound_recording(tmp_path: Path) -> None:
    report = check_bag(write_drive(tmp_path / "drive", seconds=3.0))
    assert report.ok
    assert report.verdict == "The node can run on this recording."
    assert list(report.cameras) == ["back", "front", "left"]
    assert report.sets == report.usable_sets == 30
    assert report.complete_sets >= 28
    assert report.set_rate_hz == pytest.approx(10.0, rel=0.01)
    assert report.spread_ms == pytest.approx(25.0, abs=1.0)
    front = report.cameras["front"]
    assert (front.images, front.size, front.info_size, front.lens) == (30, (64, 36), (64, 36), "plumb_bob")
    assert front.rate_hz == pytest.approx(10.0, rel=0.01)
    assert front.delay_ms == pytest.approx(30.0, abs=0.1)
    assert front.used >= 29
    assert front.problems == []
    assert front.notes == []
    assert report.advice == []
    text = render_report(report)
    assert text.endswith(report.verdict)
    assert "camera front: jpeg, 64x36, 10.0 Hz" in text
    assert json.loads(json.dumps(report.to_dict()))["cameras"]["front"]["images"] == 30


def test_without_calibration_there_are_no_cameras(tmp_path: Path) -> None:
    report = check_bag(write_drive(tmp_path / "drive", infos=False))
    assert not report.ok
    assert report.unused_images["/camera/left/image/compressed"] == "there is no /camera/left/camera_info beside it"
    assert "camera_info" in _advice(report)
    assert "cannot run" in render_report(report).splitlines()[-1]


def test_without_images(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive") as bag:
        bag.add_topic("/clock", messages.CLOCK)
        bag.write("/clock", 5, messages.clock(5))
    report = check_bag(tmp_path / "drive")
    assert not report.ok
    assert "record the image topics" in _advice(report)


def test_another_base_frame_is_proposed(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive", base_frame="vehicle")
    report = check_bag(path)
    assert not report.ok
    assert "base_link" in report.verdict
    assert "vehicle" in _advice(report)
    assert check_bag(path, RigSource(NodeParameters(base_frame="vehicle"))).ok


def test_without_odometry_the_node_runs_and_says_what_is_lost(tmp_path: Path) -> None:
    report = check_bag(write_drive(tmp_path / "drive", odometry=False))
    assert report.ok
    assert any("no odometry" in note for note in report.notes)
    assert "fixed_frame" in _advice(report)


def test_fault_one_camera_without_transform(tmp_path: Path) -> None:
    report = check_bag(write_drive(tmp_path / "drive", unmounted=("left",)))
    assert report.verdict == "The node can run on this recording, without left."
    assert any("have no pose" in p and "left_optical" in p for p in report.cameras["left"].problems)
    assert report.cameras["front"].problems == []
    assert "/tf_static" in _advice(report)


def test_fault_no_transforms_at_all(tmp_path: Path) -> None:
    report = check_bag(write_drive(tmp_path / "drive", unmounted=("left", "front", "back"), odometry=False))
    assert not report.ok
    assert "record /tf and /tf_static" in _advice(report)


def test_fault_nan_calibration(tmp_path: Path) -> None:
    report = check_bag(write_drive(tmp_path / "drive", uncalibrated=("back",)))
    assert report.verdict == "The node can run on this recording, without back."
    (problem,) = report.cameras["back"].problems
    assert "/camera/back/camera_info" in problem


def test_fault_calibration_of_another_size(tmp_path: Path) -> None:
    report = check_bag(write_drive(tmp_path / "drive", info_size=(128, 72)))
    assert "64x36 but CameraInfo is for 128x72" in report.cameras["back"].problems[0]


def test_fault_images_that_are_none(tmp_path: Path) -> None:
    report = check_bag(write_drive(tmp_path / "drive", corrupt=("front",)))
    assert "cannot be decoded" in report.cameras["front"].problems[0]


def test_fault_stamps_of_zero(tmp_path: Path) -> None:
    report = check_bag(write_drive(tmp_path / "drive", unstamped=("front", "back", "left")))
    assert not report.ok
    assert "20 of 20 header stamps are zero" in report.cameras["front"].problems
    assert "header.stamp" in _advice(report)


def test_fault_truncated_recording(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive", seconds=4.0, size=(640, 360))
    data = (path / "drive.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(data[: len(data) // 2])
    report = check_bag(tmp_path / "cut.mcap")
    assert report.ok
    assert report.damage is not None
    assert "cut.mcap is damaged" in render_report(report)


def test_a_dead_camera_shows(tmp_path: Path) -> None:
    report = check_bag(write_drive(tmp_path / "drive", seconds=2.0, dead={"left": 0.5}))
    assert report.ok
    assert report.cameras["left"].images < 7
    assert report.complete_sets < report.usable_sets / 2
    assert "fewer than half of the sets" in _advice(report)


def test_fault_no_recording() -> None:
    with pytest.raises(BagError, match="does not exist"):
        check_bag("nowhere")


def test_a_real_recording_of_six_cameras(repository: Path) -> None:
    path = repository.parent / "shared" / "bags" / "pandaset_002_train"
    if not path.is_dir():
        pytest.skip("the PandaSet recording is not here")
    report = check_bag(path)
    assert report.ok
    assert len(report.cameras) == 6
    assert report.complete_sets >= 35
    assert all(camera.used >= 36 and not camera.problems for camera in report.cameras.values())
