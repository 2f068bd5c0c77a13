# SPDX-License-Identifier: Apache-2.0
"""The offline path: samples of a recording, with each camera's pose at its own stamp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recorded_drives import CAMERAS, START, odom_from_base, write_drive

from selfocc_ros.geometry.poses import invert
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.records import BagError
from selfocc_ros.logs.samples import SampleReader, iterate_samples


def test_every_set_is_a_sample_with_poses_at_each_cameras_own_stamp(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive", seconds=3.0)
    samples = list(iterate_samples(path))
    assert len(samples) == 30
    for sample in samples[1:-1]:
        assert set(sample.rig.names) == set(CAMERAS)
        assert sample.missing == ()
        assert sample.problems == {}
        for name, frame, pose in zip(sample.rig.names, sample.frames, sample.rig.base_from_camera, strict=True):
            moved = invert(odom_from_base(sample.stamp_ns)) @ odom_from_base(frame.stamp_ns)
            np.testing.assert_allclose(pose, moved @ CAMERAS[name].base_from_camera, atol=5e-4)
    # at 10 m/s, 50 ms are half a metre: a pose that ignored the stamps would be far off
    spread = {name: frame.stamp_ns for name, frame in zip(samples[5].rig.names, samples[5].frames, strict=True)}
    assert max(spread.values()) - min(spread.values()) > 20_000_000


def test_transforms_that_arrive_later_than_images_are_used(tmp_path: Path) -> None:
    early = list(iterate_samples(write_drive(tmp_path / "a", seconds=3.0, tf_delay_s=0.0)))
    late = list(iterate_samples(write_drive(tmp_path / "b", seconds=3.0, tf_delay_s=0.8)))
    assert [s.stamp_ns for s in early] == [s.stamp_ns for s in late]
    for a, b in zip(early, late, strict=True):
        assert a.rig.names == b.rig.names
        np.testing.assert_array_equal(a.rig.base_from_camera, b.rig.base_from_camera)


def test_a_long_drive_needs_no_more_transforms_than_its_history(tmp_path: Path) -> None:
    reader = SampleReader(write_drive(tmp_path / "drive", seconds=40.0, image_rate_hz=2.0))
    samples = list(reader.samples())
    assert len(samples) == 80
    assert all(sample.missing == () for sample in samples[1:-1])


def test_only_the_stamps_asked_for(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive", seconds=2.0)
    everything = {s.stamp_ns: s for s in iterate_samples(path)}
    stamps = sorted(everything)[3:9:2]
    chosen = list(iterate_samples(path, stamps=[*stamps, 12345]))
    assert [s.stamp_ns for s in chosen] == stamps
    for sample in chosen:
        twin = everything[sample.stamp_ns]
        assert [f.stamp_ns for f in sample.frames] == [f.stamp_ns for f in twin.frames]
        np.testing.assert_array_equal(sample.rig.base_from_camera, twin.rig.base_from_camera)


def test_cameras_are_chosen_by_name_or_topic(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive", seconds=1.0)
    sample = list(iterate_samples(path, cameras=["left", "/camera/front"]))[2]
    assert set(sample.rig.names) == {"left", "front"}
    with pytest.raises(BagError, match="no camera 'roof', found back, front, left"):
        list(iterate_samples(path, cameras=["roof"]))


def test_images_that_are_rectified_are_seen_through_p_without_distortion(tmp_path: Path) -> None:
    sample = next(iter(iterate_samples(write_drive(tmp_path / "drive", seconds=1.0, rectified=True))))
    assert len(sample.rig) == 3
    for camera in sample.rig.cameras:
        assert not camera.is_distorted
        assert (camera.matrix[0, 0], camera.matrix[0, 2], camera.matrix[1, 2]) == (30.0, 31.0, 17.0)


def test_a_recording_without_cameras_says_so(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive", seconds=1.0, infos=False)
    with pytest.raises(BagError, match="CameraInfo beside it"):
        list(iterate_samples(path))


def test_fault_missing_camera_does_not_hold_up_the_others(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive", seconds=2.0, dead={"left": 1.0})
    samples = list(iterate_samples(path))
    assert len(samples) == 20
    assert {s.missing for s in samples[:9]} == {()}
    assert {s.missing for s in samples[12:]} == {("left",)}


def test_fault_missing_transform_leaves_one_camera_out(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive", seconds=1.0, unmounted=("back",))
    for sample in list(iterate_samples(path))[1:-1]:
        assert set(sample.rig.names) == {"front", "left"}
        assert "back" in sample.problems["back"]


def test_fault_nan_calibration_leaves_one_camera_out(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive", seconds=1.0, uncalibrated=("front",))
    reader = SampleReader(path)
    for sample in list(reader.samples())[1:-1]:
        assert set(sample.rig.names) == {"back", "left"}
    assert "/camera/front/camera_info" in reader.calibration_problems["front"]


def test_fault_broken_transform_leaves_the_others(tmp_path: Path) -> None:
    reader = SampleReader(write_drive(tmp_path / "drive", seconds=1.0, broken_transform=True))
    samples = list(reader.samples())
    assert all(len(s.frames) == 3 for s in samples[1:-1])
    assert ("base_link", "broken") in reader.transform_problems


def test_fault_truncated_recording_gives_the_samples_before_the_cut(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive", seconds=4.0, size=(640, 360))
    whole = list(iterate_samples(path))
    data = (path / "drive.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(data[: int(len(data) * 0.6)])
    reader = SampleReader(tmp_path / "cut.mcap")
    samples = list(reader.samples())
    assert 0.4 * len(whole) < len(samples) < 0.75 * len(whole)
    assert reader.damage is not None
    assert [s.stamp_ns for s in samples] == [s.stamp_ns for s in whole[: len(samples)]]


def test_receive_times_are_not_stamps(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive", seconds=1.0, receive_offset_s=1000.0)
    with Bag(path) as bag:
        assert bag.start_ns > START + 999_000_000_000
    assert all(abs(s.stamp_ns - START) < 2e9 for s in iterate_samples(path))
