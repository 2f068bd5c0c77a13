# SPDX-License-Identifier: Apache-2.0
"""How far it is to the nearest occupied voxel, in the plane at one height above the ground.

The distance comes from the voxels and not from the network's own signed distance: that one is learnt from what images
show near surfaces, so further out it is no distance, and networks may decide on occupancy by something else. This one
is metres everywhere, and zero exactly at the faces that ~/occupied_points shows.
"""

from __future__ import annotations

import cv2
import numpy as np
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2

from selfocc_ros.geometry.ground import BandError, layer_at
from selfocc_ros.geometry.voxels import OCCUPIED, UNKNOWN, OccupancyVolume
from selfocc_ros.ros.outputs.clouds import point_cloud, structured
from selfocc_ros.ros.outputs.grids import GRID_UNKNOWN, grid_message

COST_RANGE_M = 5.0
"""Distance in metres at which the cost has fallen to 0."""

DISTANCE_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4")])


def slice_distance(
    volume: OccupancyVolume, height: float, ground: NDArray[np.float32] | float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Signed distance (X, Y) in metres in the plane `height` above the ground, and the layer (X, Y) it lies in.

    Between the centre of a cell and the nearest face of an occupied one, as far as centres half a cell before the
    face tell: positive outside, negative inside. NaN where no camera sees the voxel; at most the longest way through
    the grid, which is what it is where nothing is occupied.

    Raises:
        BandError: the plane lies outside the voxels, or cells are not square.
    """
    grid = volume.grid
    cell = float(grid.cell[0])
    if abs(cell - float(grid.cell[1])) > 1e-6:
        raise BandError(f"a distance in cells needs square ones, the voxels measure {cell:g} by {grid.cell[1]:g} m")
    layer = layer_at(grid, height, ground)
    inside = (layer >= 0) & (layer < grid.shape[2])
    if not inside.any():
        low, high = grid.lower[2] - float(np.max(ground)), grid.upper[2] - float(np.min(ground))
        raise BandError(
            f"sdf_slice_height {height:g} m lies outside the voxels, "
            f"which reach from {low:.2f} to {high:.2f} m above the ground"
        )
    at = np.where(inside, layer, 0)[..., None]
    state = np.where(inside, np.take_along_axis(volume.state, at, axis=2)[..., 0], UNKNOWN)
    occupied = state == OCCUPIED
    outside_m = _to_nearest(occupied, cell)
    inside_m = _to_nearest(~occupied, cell)
    distance = np.where(occupied, -inside_m, outside_m).astype(np.float32)
    distance[state == UNKNOWN] = np.nan
    return distance, layer


def _to_nearest(target: NDArray[np.bool_], cell: float) -> NDArray[np.float32]:
    """(X, Y) metres from each centre to the face of the nearest target cell."""
    longest = cell * float(np.hypot(*target.shape))
    if not target.any():
        return np.full(target.shape, longest, np.float32)
    cells = cv2.distanceTransform((~target).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.maximum(cells - 0.5, 0.0) * cell, np.float32)


def sdf_slice(
    distance: NDArray[np.float32], volume: OccupancyVolume, stamp_ns: int, frame: str, z: float
) -> OccupancyGrid:
    """nav_msgs/OccupancyGrid of what `slice_distance` found: 100 inside, falling to 0 at 5 m, -1 where unseen."""
    cost = 100.0 * np.clip(1.0 - distance / COST_RANGE_M, 0.0, 1.0)
    values = np.where(np.isnan(distance), GRID_UNKNOWN, np.rint(np.nan_to_num(cost))).astype(np.int8)
    return grid_message(values, volume.grid, stamp_ns, frame, z)


def sdf_slice_points(
    distance: NDArray[np.float32], layer: NDArray[np.int64], volume: OccupancyVolume, stamp_ns: int, frame: str
) -> PointCloud2:
    """sensor_msgs/PointCloud2 of what `slice_distance` found: x, y, z and the metres as `intensity`, seen cells only.

    Points lie at the centres of the voxels, so they follow the ground.
    """
    seen = np.isfinite(distance)
    x, y = np.nonzero(seen)
    points = structured(volume.grid, (x, y, layer[seen]), DISTANCE_POINT)
    points["intensity"] = distance[seen]
    return point_cloud(points, stamp_ns, frame)
