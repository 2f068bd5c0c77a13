# SPDX-License-Identifier: Apache-2.0
"""Exact masks of what moves in a picture of the town: a pixel moves if the point that it shows belongs to what does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.town.objects import Solids

TOLERANCE_M = 0.03
"""By how much a hit may lie outside its solid: float32 rays of 100 m."""


def moving_mask(
    solids: Solids, depth: NDArray[np.float32], camera: CameraModel, odom_from_camera: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(H, W), False where the picture shows something that moves. Moving shadows are not found.

    Args:
        solids: everything in the town at the moment of the picture.
        depth: (H, W) of the picture along the optical axis, metres; inf for sky.
        camera: the pinhole camera that took it.
    """
    use = np.ones(depth.shape, np.bool_)
    rays = camera.pixel_rays()
    local = rays / rays[..., 2:] * np.where(np.isfinite(depth), depth, -1.0)[..., None]
    moving = solids.take(solids.moving)
    centres = (moving.centre - odom_from_camera[:3, 3]) @ odom_from_camera[:3, :3]
    for row in np.flatnonzero(centres[:, 2] > -moving.radius).tolist():
        window = _window(centres[row], float(moving.radius[row]) + TOLERANCE_M, camera)
        hits = local[window] @ odom_from_camera[:3, :3].T + odom_from_camera[:3, 3] - moving.centre[row]
        use[window] &= ~_inside(hits, moving, row)
    return use


def _inside(offsets: NDArray[np.float64], solids: Solids, row: int) -> NDArray[np.bool_]:
    """Whether offsets (..., 3) from the centre of a solid lie in it."""
    if solids.sphere[row]:
        return np.asarray(np.linalg.norm(offsets, axis=-1) < solids.size[row, 0] + TOLERANCE_M)
    cos, sin = np.cos(solids.yaw[row]), np.sin(solids.yaw[row])
    x, y, z = np.moveaxis(offsets, -1, 0)
    own = np.stack([cos * x + sin * y, cos * y - sin * x, z], axis=-1)
    return np.asarray((np.abs(own) < solids.size[row] + TOLERANCE_M).all(axis=-1))


def _window(centre: NDArray[np.float64], radius: float, camera: CameraModel) -> tuple[slice, slice]:
    """Rows and columns that a sphere around ``centre`` (3,) in the camera's frame cannot leave."""
    near, far = centre[2] - radius, centre[2] + radius
    if near < 0.1:
        return slice(None), slice(None)
    slices = []
    for axis in (1, 0):
        focal, middle = camera.matrix[axis, axis], camera.matrix[axis, 2]
        low, high = centre[axis] - radius, centre[axis] + radius
        first = middle + focal * min(low / near, low / far)
        last = middle + focal * max(high / near, high / far)
        slices.append(slice(max(0, int(np.floor(first))), max(0, int(np.ceil(last)) + 1)))
    return slices[0], slices[1]
