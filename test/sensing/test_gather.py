# SPDX-License-Identifier: Apache-2.0
"""Gathering: each camera where it was at its own stamp, and reasons for each that is left out."""

from __future__ import annotations

import numpy as np
import pytest

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import body_from_optical, invert, pose_from_rpy
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.sensing.frames import CameraFrame, RigSample
from selfocc_ros.sensing.gather import gather_sample
from selfocc_ros.sensing.sync import FrameSet

S = 1_000_000_000
MS = 1_000_000
T = 1_700_000_000 * S
CAMERA = CameraModel(64, 48, np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]))
OFFSETS_MS = {"front": 0, "left": -30, "back": 41}
MOUNTS = {
    "front": pose_from_rpy((1.5, 0.0, 1.6), 0, 0, 0) @ body_from_optical(),
    "left": pose_from_rpy((0.5, 0.8, 1.7), 0, 0, 1.57) @ body_from_optical(),
    "back": pose_from_rpy((-1.0, 0.0, 1.8), 0, 0.05, 3.1) @ body_from_optical(),
}


def odom_from_base(stamp_ns: int) -> np.ndarray:
    t = (stamp_ns - T) / S
    return pose_from_rpy((12.0 * t, 0.5 * t, 0.0), 0.0, 0.0, 0.4 * t)


def vehicle(odometry: bool = True, mounts: tuple[str, ...] = tuple(MOUNTS)) -> TransformTree:
    tree = TransformTree()
    for name in mounts:
        tree.set_static("base_link", f"{name}_optical", MOUNTS[name])
    if odometry:
        for ms in range(-200, 201, 10):
            tree.set("odom", "base_link", T + ms * MS, odom_from_base(T + ms * MS))
    return tree


def frames(**changes: str) -> FrameSet[CameraFrame]:
    items = {
        name: CameraFrame(name, T + offset * MS, changes.get(name, f"{name}_optical"), "jpeg", b"")
        for name, offset in OFFSETS_MS.items()
    }
    return FrameSet(T, items, ("right",))


def gather(tree: TransformTree, frame_set: FrameSet[CameraFrame] | None = None, **frame_ids: str) -> RigSample:
    cameras = dict.fromkeys(MOUNTS, CAMERA)
    return gather_sample(frame_set or frames(), cameras, frame_ids, tree, "base_link", "odom")


def test_each_camera_is_where_it_was_at_its_own_stamp() -> None:
    sample = gather(vehicle())
    assert sample.stamp_ns == T
    assert sample.rig.names == ("front", "left", "back")
    assert [frame.camera for frame in sample.frames] == ["front", "left", "back"]
    for name, pose in zip(sample.rig.names, sample.rig.base_from_camera, strict=True):
        expected = invert(odom_from_base(T)) @ odom_from_base(T + OFFSETS_MS[name] * MS) @ MOUNTS[name]
        np.testing.assert_allclose(pose, expected, atol=1e-5)  # the yaw is interpolated, the path in odom straight
    assert np.linalg.norm(sample.rig.base_from_camera[2][:3, 3] - MOUNTS["back"][:3, 3]) == pytest.approx(
        0.49, abs=0.02
    )
    np.testing.assert_allclose(sample.rig.base_from_camera[0], MOUNTS["front"], atol=1e-12)
    assert sample.missing == ("right",)
    assert sample.problems == {}


def test_frame_ids_can_be_given_instead_of_the_messages() -> None:
    sample = gather(vehicle(), frames(left="wrong_frame", back=""), left="left_optical", back="back_optical")
    assert sample.rig.names == ("front", "left", "back")
    np.testing.assert_allclose(sample.rig.base_from_camera, gather(vehicle()).rig.base_from_camera)


@pytest.mark.fault
def test_a_camera_without_a_transform_is_left_out_with_a_reason() -> None:
    sample = gather(vehicle(mounts=("front", "back")))
    assert sample.rig.names == ("front", "back")
    assert sample.missing == ("right", "left")
    assert list(sample.problems) == ["left"]
    assert sample.problems["left"].startswith("camera 'left': frame 'left_optical' is unknown, known frames: back_opt")


@pytest.mark.fault
def test_a_camera_without_intrinsics_or_frame_is_left_out_with_a_reason() -> None:
    sample = gather_sample(frames(back=""), {"front": CAMERA, "back": CAMERA}, {}, vehicle(), "base_link", "odom")
    assert sample.rig.names == ("front",)
    assert sample.missing == ("right", "left", "back")
    assert sample.problems == {
        "left": "camera 'left': no CameraInfo so far",
        "back": "camera 'back': its messages have no frame_id and none is configured",
    }


@pytest.mark.fault
def test_a_camera_newer_than_the_odometry_is_left_out_until_that_arrives() -> None:
    tree = TransformTree()
    for name, mount in MOUNTS.items():
        tree.set_static("base_link", f"{name}_optical", mount)
    for ms in range(-200, 31, 10):
        tree.set("odom", "base_link", T + ms * MS, odom_from_base(T + ms * MS))
    sample = gather(tree)
    assert sample.rig.names == ("front", "left")
    assert "0.011 s after the newest" in sample.problems["back"]
    for ms in (40, 50):
        tree.set("odom", "base_link", T + ms * MS, odom_from_base(T + ms * MS))
    assert gather(tree).problems == {}


@pytest.mark.fault
def test_odometry_that_is_late_is_no_reason_to_ignore_motion() -> None:
    tree = vehicle(odometry=False)
    for ms in range(-500, -300, 10):
        tree.set("odom", "base_link", T + ms * MS, odom_from_base(T + ms * MS))
    sample = gather(tree)
    assert len(sample.rig) == 0
    assert sample.frames == ()
    assert set(sample.problems) == set(MOUNTS)


@pytest.mark.fault
@pytest.mark.parametrize("elsewhere", [False, True])
def test_without_odometry_cameras_are_as_mounted_and_it_is_said(elsewhere: bool) -> None:
    tree = vehicle(odometry=False)
    if elsewhere:  # there is an odom, of another robot
        tree.set("odom", "other_base", T, np.eye(4))
    sample = gather(tree)
    assert sample.rig.names == tuple(OFFSETS_MS)
    np.testing.assert_allclose(sample.rig.base_from_camera, np.stack([MOUNTS[n] for n in OFFSETS_MS]), atol=1e-12)
    assert list(sample.problems) == ["odom"]
    assert "motion between the cameras' stamps is not accounted for" in sample.problems["odom"]
    assert sample.missing == ("right",)


@pytest.mark.fault
def test_an_unknown_base_is_named_for_each_camera() -> None:
    sample = gather_sample(frames(), dict.fromkeys(MOUNTS, CAMERA), {}, vehicle(), "base_footprint", "odom")
    assert len(sample.rig) == 0
    assert set(sample.problems) == set(MOUNTS)
    assert all("frame 'base_footprint' is unknown" in sentence for sentence in sample.problems.values())
