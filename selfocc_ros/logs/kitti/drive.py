# SPDX-License-Identifier: Apache-2.0
"""One drive of KITTI, odometry sequence or raw, and the vehicle that all were recorded with.

base_link is on the road below the laser scanner, with the scanner's axes (x forward, y left, z up), so `ground_z` is
0. KITTI publishes the scanner's height, but no transform to an axle. The odometry frame is base_link at the first
pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import invert
from selfocc_ros.logs.kitti.files import Calibration, KittiError, calibration_entry

FloatArray = NDArray[np.float64]

VELODYNE_HEIGHT_M = 1.73
"""The laser scanner above the road (Geiger et al. 2013, figure 3, which has the cameras at 1.65 m)."""

CAMERAS = {"left": 2, "right": 3}
"""KITTI's numbers of the colour cameras."""

_ROTATION_SLACK = 1e-3


@dataclass(frozen=True, eq=False)
class KittiCamera:
    """One rectified camera and its images.

    Attributes:
        name: left or right.
        matrix: (3,3) camera matrix of the images, which have no distortion.
        stereo_tx: CameraInfo's P[0, 3]: 0 on the left, -fx times the baseline on the right.
        base_from_camera: (4,4), optical axes.
        size: (width, height) that the calibration is for, where it says so.
        stamps_ns, images: of each image, in order.
    """

    name: str
    matrix: FloatArray
    stereo_tx: float
    base_from_camera: FloatArray
    size: tuple[int, int] | None
    stamps_ns: tuple[int, ...]
    images: tuple[Path, ...]

    def model(self, width: int, height: int) -> CameraModel:
        """The intrinsics of an image of this size."""
        return CameraModel(width, height, self.matrix)


@dataclass(frozen=True, eq=False)
class KittiDrive:
    """Everything of a drive that becomes a recording; images and scans are still files.

    Attributes:
        name: sequence or drive.
        source: odometry or raw.
        cameras: those whose images are there.
        pose_stamps_ns: (N), increasing.
        odom_from_base: (N,4,4), the first is the identity.
        scans: stamps and files of the laser scans, maybe none.
        missing_scans: names of scans that ought to be there.
        poses_from: the file or folder that poses were read from.
        voxels: SemanticKITTI's folder of voxels, and the stamps of all frames; or None.
    """

    name: str
    source: str
    cameras: tuple[KittiCamera, ...]
    pose_stamps_ns: tuple[int, ...]
    odom_from_base: FloatArray
    scans: tuple[tuple[int, Path], ...]
    missing_scans: tuple[str, ...]
    poses_from: Path
    voxels: tuple[Path, tuple[int, ...]] | None = None


def base_from_velodyne() -> FloatArray:
    """Pose (4,4) of the laser scanner in base_link."""
    pose = np.eye(4)
    pose[2, 3] = VELODYNE_HEIGHT_M
    return pose


def rigid(rotation: FloatArray, translation: FloatArray, where: str) -> FloatArray:
    """Transform (4,4) of the rotation (3,3), made exact, and the translation (3,) of a file.

    The files round to 7 digits and less; the nearest rotation is U V^T of the singular value decomposition.

    Raises:
        KittiError: it is far from a rotation; `where` names file and entry.
    """
    u, stretch, vt = np.linalg.svd(rotation)
    exact = u @ vt
    if np.abs(stretch - 1.0).max() > _ROTATION_SLACK or np.linalg.det(exact) < 0.0:
        raise KittiError(f"{where} is no rotation: it stretches by {stretch.min():.4g} to {stretch.max():.4g}")
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = exact, translation
    return transform


def camera_geometry(
    calibration: Calibration, key: str, path: Path, base_from_rectified: FloatArray
) -> dict[str, tuple[FloatArray, float, FloatArray]]:
    """(matrix, stereo_tx, base_from_camera) of the colour cameras, by name.

    A projection P = [K p] maps points of the rectified camera 0 to pixels, so that the camera itself lies at
    -K^-1 p there, with the same axes (devkit of the odometry benchmark: x = P Tr X).

    Args:
        calibration: of the file `path`.
        key: of a projection (3,4), with a place for the camera's number.
        base_from_rectified: (4,4) pose of rectified camera 0.
    """
    matrices, offsets = {}, {}
    for name, number in CAMERAS.items():
        projection = calibration_entry(calibration, key.format(number), (3, 4), path)
        matrices[name] = projection[:, :3]
        offsets[name] = np.linalg.solve(projection[:, :3], projection[:, 3])
    geometry = {}
    for name, matrix in matrices.items():
        camera_from_rectified = np.eye(4)
        camera_from_rectified[:3, 3] = offsets[name]
        # CameraInfo's P counts from the left camera of the pair, KITTI's from the grey camera 0.
        stereo_tx = float(matrix[0, 0] * (offsets[name] - offsets["left"])[0])
        geometry[name] = matrix, stereo_tx, base_from_rectified @ invert(camera_from_rectified)
    return geometry


def from_first(world_from_base: FloatArray) -> FloatArray:
    """Poses (N,4,4) in the frame of the first."""
    return np.asarray(invert(world_from_base[0]) @ world_from_base)
