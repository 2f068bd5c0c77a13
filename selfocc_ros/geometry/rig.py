# SPDX-License-Identifier: Apache-2.0
"""A rig: named cameras and where each one is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfocc_ros.geometry.cameras import CalibrationError, CameraModel
from selfocc_ros.geometry.poses import check_pose

POSE_QUANTUM = 1e-4
"""Poses that agree to this (metres, and entries of the rotation) share a fingerprint, so cached geometry is reused."""


@dataclass(frozen=True, eq=False)
class CameraRig:
    """Cameras and their poses; it may be empty.

    Attributes:
        names: (N) camera names, all different.
        cameras: (N) intrinsics.
        base_from_camera: (N,4,4) float64 poses of the optical frames in the base frame.
    """

    names: tuple[str, ...]
    cameras: tuple[CameraModel, ...]
    base_from_camera: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "cameras", tuple(self.cameras))
        n = len(self.names)
        poses = np.array(self.base_from_camera, dtype=np.float64).reshape(-1, 4, 4)
        if len(self.cameras) != n or len(poses) != n:
            raise CalibrationError(f"a rig of {n} names has {len(self.cameras)} cameras and {len(poses)} poses")
        if len(set(self.names)) != n:
            raise CalibrationError(f"camera names of a rig must all differ, found {', '.join(self.names)}")
        for name, pose in zip(self.names, poses, strict=True):
            check_pose(pose, f"the pose of camera '{name}'")
        poses.setflags(write=False)
        object.__setattr__(self, "base_from_camera", poses)

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: Iterable[int]) -> CameraRig:
        """The rig of the cameras `indices`, in that order."""
        chosen = [int(i) for i in indices]
        return CameraRig(
            tuple(self.names[i] for i in chosen),
            tuple(self.cameras[i] for i in chosen),
            self.base_from_camera[chosen],
        )

    def shifted(self, base_from_old: ArrayLike) -> CameraRig:
        """The same cameras seen from another base frame; `base_from_old` (4,4) is the old base's pose in the new."""
        return CameraRig(self.names, self.cameras, np.asarray(base_from_old, dtype=np.float64) @ self.base_from_camera)

    def fingerprint(self) -> str:
        """A short hash of names, intrinsics and poses; poses are rounded to POSE_QUANTUM."""
        digest = hashlib.sha256()
        for name, camera in zip(self.names, self.cameras, strict=True):
            digest.update(f"{name}\0{camera.fingerprint()}\0".encode())
        digest.update(np.round(self.base_from_camera / POSE_QUANTUM).astype(np.int64).tobytes())
        return digest.hexdigest()[:16]
