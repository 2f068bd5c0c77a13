# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in recordings: each fault is told by the report and handled as docs/dataset.md says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from recorded_drives import START, odom_from_base, write_drive

from selfocc_ros.configuration import ConfigError
from selfocc_ros.logs.records import BagError
from selfocc_training.config import DataConfig
from selfocc_training.dataset.clips import DatasetClips
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.prepare import prepare
from selfocc_training.town_clips import ClipPlan

Rewrite = Callable[..., Path]
LEFT = "/camera/left/"

pytestmark = pytest.mark.fault


def seconds(receive_ns: int) -> float:
    return (receive_ns - START) * 1e-9


def shifted(msg: Any, by_ns: int) -> Any:
    """The message with its stamps moved."""
    for header in [msg.header] if hasattr(msg, "header") else [t.header for t in msg.transforms]:
        stamp = header.stamp.sec * 10**9 + header.stamp.nanosec + by_ns
        header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
    return msg


def prepared(recording: Path, layout: str | None = None) -> tuple[Dataset, str]:
    """The recording's dataset and its report."""
    root = recording.parent / f"{recording.name}_dataset"
    shutil.rmtree(root, ignore_errors=True)
    prepare([recording], root, layout)
    return Dataset.open(root), (root / "report.txt").read_text()


def clips(dataset: Dataset, frames: int = 5) -> DatasetClips:
    plan = ClipPlan(frames=frames, spacing_m=0.9, width=32, height=24)
    return DatasetClips(dataset, DataConfig(clip=plan, widest_gap=2))


def test_fault_a_camera_missing_for_half_the_drive(bag: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    half = rewrite(bag, tmp_path / "half", lambda t, at, m: None if LEFT in t and seconds(at) > 1.5 else (t, m))
    dataset, report = prepared(half)
    assert len(dataset) == 30
    assert [dataset[index].missing for index in (10, 20)] == [(), ("left",)]
    assert "camera left: missing in 15 of 30 samples, between 1.5 s and 2.9 s" in report
    # Clips show the cameras that are there all along.
    assert {clip.images.shape[1] for clip in clips(dataset)} == {2, 3}


def test_fault_clocks_of_cameras_differ(bag: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    def early(topic: str, _: int, msg: Any) -> tuple[str, Any]:
        return topic, shifted(msg, -37 * 10**9) if LEFT in topic else msg

    recording = rewrite(bag, tmp_path / "clocks", early)
    dataset, report = prepared(recording)
    assert "camera left: its clock seems to be 37.00 s behind the others'" in report
    assert "back: its clock" not in report
    assert dataset[4].missing == ("left",)
    layout = yaml.safe_load((dataset.root / "layout.yaml").read_text()) | {"stamp": "receive"}
    (tmp_path / "layout.yaml").write_text(yaml.safe_dump(layout))
    dataset, report = prepared(recording, str(tmp_path / "layout.yaml"))
    assert "its clock" not in report
    assert dataset[4].missing == ()


def test_fault_transforms_with_gaps(tmp_path: Path, rewrite: Rewrite) -> None:
    whole = write_drive(tmp_path / "whole", seconds=6.0)
    gap = rewrite(whole, tmp_path / "gap", lambda t, at, m: None if t == "/tf" and 1 < seconds(at) < 5 else (t, m))
    dataset, report = prepared(gap)
    assert "gaps in transform odom -> base_link: 1 (4.0" in report
    assert "1 stretch without a sample" in report
    # Poses nobody knows are not invented: what lies in the gap is left out, and nothing is compared across it.
    for sample in dataset.samples("train"):
        np.testing.assert_allclose(sample.odom_from_base, odom_from_base(sample.stamp_ns), atol=1e-3)
    assert len(dataset.stretches("train")) == 2


def test_fault_a_loop_in_time(bag: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    def back(topic: str, at: int, msg: Any) -> tuple[str, Any]:
        return topic, shifted(msg, -1_500_000_000) if seconds(at) > 2.0 else msg

    dataset, report = prepared(rewrite(bag, tmp_path / "loop", back))
    assert "of images with stamps that were there before (time jumps back): left out" in report
    assert np.all(np.diff(dataset.stamps_ns) > 0)
    assert "time jumps back 1 time (by 1.4 s at 1.90 s): nothing is compared across" in report
    assert len(dataset) == 20
    # Poses are those of the images' own time, also where the transforms after the jump have the same stamps.
    for sample in dataset.samples("train"):
        np.testing.assert_allclose(sample.odom_from_base, odom_from_base(sample.stamp_ns), atol=1e-3)


@pytest.mark.parametrize(
    ("seconds_on", "until", "stretches"),
    [(-3600, 9.0, 2), (3600, 9.0, 2), (13, 9.0, 2), (3600, 2.0, 3), (-3600, 2.0, 3)],
)
def test_fault_a_clock_that_is_set(
    bag: Path, rewrite: Rewrite, tmp_path: Path, seconds_on: int, until: float, stretches: int
) -> None:
    """At 1 s, and where `until` says so back to what it was: the drive goes on in a new segment."""
    step_ns = seconds_on * 10**9

    def set_clock(topic: str, at: int, msg: Any) -> tuple[str, Any]:
        return topic, shifted(msg, step_ns) if 1.0 < seconds(at) < until else msg

    dataset, report = prepared(rewrite(bag, tmp_path / "set", set_clock))
    assert 30 - stretches <= len(dataset) <= 30
    assert len(np.unique(dataset.stamps_ns)) == len(dataset)
    assert len(dataset.stretches("train")) == stretches
    for sample in dataset.samples("train"):
        moved = not -0.5 < seconds(sample.stamp_ns) < 3.5
        np.testing.assert_allclose(sample.odom_from_base, odom_from_base(sample.stamp_ns - moved * step_ns), atol=1e-3)
    back = (seconds_on < 0) + (seconds_on > 0 and until < 9)
    assert ("time jumps back 1 time (by 3" in report) == bool(back)
    # The hour is no gap of the cameras or of the transform.
    assert report.count("dropped 0, longest gap 0.10 s") == 3
    assert "gaps in transform" not in report


def test_fault_no_motion(bag: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    def park(topic: str, _: int, msg: Any) -> tuple[str, Any]:
        if topic == "/tf":
            moved = msg.transforms[0].transform
            moved.translation.x = moved.translation.y = moved.rotation.z = 0.0
            moved.rotation.w = 1.0
        return topic, msg

    dataset, report = prepared(rewrite(bag, tmp_path / "parked", park))
    assert "at a standstill 100% of the time" in report
    assert "the vehicle does not move (0.0 m): nothing can be learnt from this drive" in report
    with pytest.raises(ConfigError, match=r"drive parked is too short to train on: 0\.0 m"):
        clips(dataset)


def test_fault_a_truncated_file(bag: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(bag, cut)
    (file,) = cut.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    (cut / "metadata.yaml").unlink(missing_ok=True)
    dataset, report = prepared(cut)
    assert report.count("is damaged: it breaks off after") == 1
    assert len(dataset) > 0


@pytest.mark.parametrize("calibrated", [False, True])
def test_fault_images_of_several_sizes(bag: Path, rewrite: Rewrite, tmp_path: Path, calibrated: bool) -> None:
    def grow(topic: str, at: int, msg: Any) -> tuple[str, Any]:
        if LEFT in topic and seconds(at) > 1.5:
            if topic.endswith("compressed"):
                large = cv2.resize(cv2.imdecode(msg.data, cv2.IMREAD_COLOR), (128, 72))
                msg.data = cv2.imencode(".jpg", large)[1].reshape(-1)
            elif calibrated:
                msg.width, msg.height, msg.k = 128, 72, msg.k * np.array([2, 1, 2, 1, 2, 2, 1, 1, 1.0])
        return topic, msg

    dataset, report = prepared(rewrite(bag, tmp_path / "mixed", grow))
    if calibrated:
        assert "its images come in several sizes: 64x36 (15), 128x72 (15); nothing is compared across" in report
        assert len(dataset.stretches("train")) == 2
    else:
        assert "15 images: it is 128x72, but calibrated for 64x36" in report
        assert dataset[20].missing == ("left",)
    assert len([clip.images.shape for clip in clips(dataset)]) > 2  # each can be put together


def test_fault_no_camera_info_for_one_camera(bag: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    blind = rewrite(bag, tmp_path / "blind", lambda t, _, m: None if t == f"{LEFT}camera_info" else (t, m))
    dataset, report = prepared(blind)
    assert dataset.cameras == ("back", "front")
    assert "not used: /camera/left/image/compressed (there is no /camera/left/camera_info beside it)" in report


def test_fault_no_camera_info_for_one_camera_of_a_known_layout(bag: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    blind = rewrite(bag, tmp_path / "blind", lambda t, _, m: None if t == f"{LEFT}camera_info" else (t, m))
    why = "there is no {} for camera 'left', nor 'intrinsics' in the layout"
    dataset, report = prepared(blind, "town")
    assert (len(dataset), dataset.cameras) == (30, ("back", "front"))
    assert f"not used: {LEFT}image/compressed ({why.format(LEFT + 'camera_info')})" in report
    # The layout of a whole recording does for the next one.
    root = tmp_path / "both"
    prepare([bag, blind], root)
    dataset, report = Dataset.open(root), (root / "report.txt").read_text()
    assert (len(dataset), dataset.cameras) == (60, ("back", "front", "left"))
    cameras = [[image.name for image in dataset[index].images] for index in (0, 59)]
    assert cameras == [["back", "front"], ["back", "front", "left"]]
    assert report.count("not used: ") == 1
    without = rewrite(bag, tmp_path / "none", lambda t, _, m: None if t.endswith("camera_info") else (t, m))
    with pytest.raises(BagError, match="none has no calibration of camera 'back', nor of another: expected CameraInfo"):
        prepare([without], root)


def test_fault_unusable_recordings_do_not_hold_up_the_others(bag: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    bare = rewrite(bag, tmp_path / "bare", lambda t, _, m: None if t.endswith("camera_info") else (t, m))
    still = rewrite(bag, tmp_path / "still", lambda t, _, m: None if t == "/tf" else (t, m))
    other, root = write_drive(tmp_path / "other"), tmp_path / "dataset"
    bags = [bare, bag, still, tmp_path / "nowhere", other]
    description = prepare(bags, root)
    assert [drive["name"] for drive in description["drives"]] == ["drive", "other"]
    refused = {entry["path"]: entry["reason"] for entry in description["refused"]}
    assert set(refused) == {str(bare), str(still), str(tmp_path / "nowhere")}
    assert "cannot be trained on without odometry" in refused[str(still)]
    report = (root / "report.txt").read_text()
    assert all(f"refused: {reason}" in report for reason in refused.values())
    assert len(Dataset.open(root)) == 50
    # The layout that it has now changes what is wrong with the first one, and nothing else.
    again = prepare(bags, root)
    assert [entry["path"] for entry in again["refused"]] == [entry["path"] for entry in description["refused"]]
    assert prepare([bag, other], root)["refused"] == []
    with pytest.raises(BagError, match=f"^none of 2 recordings can be used: {bare} has no .*; {still} cannot"):
        prepare([bare, still], root)
    assert len(Dataset.open(root)) == 50
