# SPDX-License-Identifier: Apache-2.0
"""Rigs: subsets, another base, fingerprints."""

from __future__ import annotations

import numpy as np
import pytest

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.cameras import CalibrationError, CameraModel
from selfocc_ros.geometry.poses import PoseError, pose_from_rpy
from selfocc_ros.geometry.rig import CameraRig


def rig(nudge: float = 0.0) -> CameraRig:
    cameras = tuple(CameraModel(64, 48, np.array([[f, 0, 32.0], [0, f, 24.0], [0, 0, 1]])) for f in (50.0, 60.0, 70.0))
    poses = np.stack([pose_from_rpy((i + nudge, 0, 1.5), 0, 0, i) for i in range(3)])
    return CameraRig(("left", "front", "right"), cameras, poses)


def test_a_subset_keeps_names_cameras_and_poses_together() -> None:
    part = rig().subset([2, 0])
    assert len(part) == 2
    assert part.names == ("right", "left")
    assert [cam.matrix[0, 0] for cam in part.cameras] == [70.0, 50.0]
    np.testing.assert_array_equal(part.base_from_camera, rig().base_from_camera[[2, 0]])
    assert len(rig().subset([])) == 0


def test_a_shifted_rig_sees_from_the_new_base() -> None:
    base_from_old = pose_from_rpy((5, 1, 0.3), 0, 0, 0.5)
    moved = rig().shifted(base_from_old)
    for i in range(3):
        np.testing.assert_allclose(moved.base_from_camera[i], base_from_old @ rig().base_from_camera[i], atol=1e-15)


def test_fingerprints_forgive_rounding_but_not_changes() -> None:
    first = rig()
    assert first.fingerprint() == rig(1e-6).fingerprint()
    others = [rig(1e-3), first.subset([0, 1]), first.subset([1, 0, 2])]
    others.append(CameraRig(("a", "b", "c"), first.cameras, first.base_from_camera))
    others.append(CameraRig(first.names, (first.cameras[0],) * 3, first.base_from_camera))
    assert len({r.fingerprint() for r in [first, *others]}) == 6


def test_poses_are_copied_and_read_only() -> None:
    poses = np.stack([np.eye(4)])
    one = CameraRig(("a",), rig().cameras[:1], poses)
    poses[0, 0, 3] = 9.0
    assert one.base_from_camera[0, 0, 3] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        one.base_from_camera[0, 0, 3] = 1.0


@pytest.mark.fault
def test_rigs_that_do_not_hold_together_are_refused() -> None:
    good = rig()
    with pytest.raises(CalibrationError, match="3 names has 2 cameras and 3 poses"):
        CameraRig(good.names, good.cameras[:2], good.base_from_camera)
    with pytest.raises(CalibrationError, match="must all differ"):
        CameraRig(("a", "b", "a"), good.cameras, good.base_from_camera)
    with pytest.raises(PoseError, match="pose of camera 'front'"):
        CameraRig(good.names, good.cameras, good.base_from_camera * np.array([1, np.nan, 1])[:, None, None])
    assert issubclass(CalibrationError, SelfOccError)
    assert issubclass(PoseError, SelfOccError)
