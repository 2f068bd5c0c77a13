# SPDX-License-Identifier: Apache-2.0
"""Occupied voxels as one visualization_msgs/Marker of cubes, nearest first."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

from selfocc_ros.geometry.voxels import OccupancyVolume, VoxelGrid, VoxelIndex, where
from selfocc_ros.ros.stamps import time_message
from selfocc_ros.viz.colours import volume_palette


class VoxelMarkers:
    """Makes the markers; keeps the Point of every voxel that it has shown, which are ten times dearer than all else."""

    def __init__(self) -> None:
        self._grid: VoxelGrid | None = None
        self._points: NDArray[np.object_] = np.empty(0, object)

    def message(
        self, volume: OccupancyVolume, stamp_ns: int, frame: str, ground_z: float = 0.0, most: int = 20000
    ) -> Marker:
        """visualization_msgs/Marker, a CUBE_LIST of the surface's voxels nearest to the origin of `frame`.

        Colours are those of ~/occupied_points. Action DELETE where nothing is occupied.

        Args:
            ground_z: height of the ground, metres in `frame`: colours go by height above it.
            most: number of voxels shown at most.
        """
        grid = volume.grid
        message = Marker()
        message.header.stamp = time_message(stamp_ns)
        message.header.frame_id = frame
        message.ns = "voxels"
        message.type = Marker.CUBE_LIST
        message.pose.orientation.w = 1.0
        message.scale.x, message.scale.y, message.scale.z = (float(edge) for edge in grid.cell)
        message.color.a = 1.0
        index = where(volume.surface())
        if not len(index[0]):
            message.action = Marker.DELETE
            return message
        x, y, z = (grid.line(axis) for axis in range(3))
        squared = (x**2)[index[0]] + (y**2)[index[1]] + (z**2)[index[2]]
        nearest = np.argsort(squared, kind="stable")[:most]
        index = (index[0][nearest], index[1][nearest], index[2][nearest])
        message.points = self._pooled(grid, index)
        palette, entries = volume_palette(volume, index, ground_z)
        colours = [ColorRGBA(r=r / 255, g=g / 255, b=b / 255, a=1.0) for r, g, b in palette.tolist()]
        message.colors = [colours[entry] for entry in entries.tolist()]
        return message

    def _pooled(self, grid: VoxelGrid, index: VoxelIndex) -> list[Point]:
        if grid != self._grid:
            self._grid, self._points = grid, np.empty(int(np.prod(grid.shape)), object)
        flat = np.ravel_multi_index(index, grid.shape)
        new = np.flatnonzero(self._points[flat] == None)  # noqa: E711  element by element
        places = (grid.line(axis)[index[axis][new]].tolist() for axis in range(3))
        for at, x, y, z in zip(flat[new].tolist(), *places, strict=True):
            self._points[at] = Point(x=x, y=y, z=z)
        return list(self._points[flat])
