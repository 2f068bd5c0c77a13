# SPDX-License-Identifier: Apache-2.0
"""Occupied voxels as one visualization_msgs/Marker of cubes, nearest first.

The message is made in its serialised form: a Python object for each of 20000 points and colours takes 60 ms of all
threads of the node to make and to serialise, their bytes at once less than one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from visualization_msgs.msg import Marker

from selfocc_ros.geometry.voxels import OccupancyVolume, where
from selfocc_ros.ros.stamps import time_message
from selfocc_ros.viz.colours import volume_palette

_ENCAPSULATION = 4
"""Bytes of CDR before the message; alignment counts from behind them."""


def voxel_markers(
    volume: OccupancyVolume, stamp_ns: int, frame: str, ground_z: float = 0.0, most: int = 20000
) -> bytes:
    """A serialised visualization_msgs/Marker: the surface's voxels nearest to the origin of `frame` as a CUBE_LIST.

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
    x, y, z = (grid.line(axis) for axis in range(3))
    squared = (x**2)[index[0]] + (y**2)[index[1]] + (z**2)[index[2]]
    nearest = np.argsort(squared, kind="stable")[:most]
    index = (index[0][nearest], index[1][nearest], index[2][nearest])
    points = np.stack([x[index[0]], y[index[1]], z[index[2]]], axis=-1)
    palette, entries = volume_palette(volume, index, ground_z)
    colours = np.ones((len(entries), 4), np.float32)
    colours[:, :3] = palette[entries] / np.float32(255)
    return with_points(message, points, colours)


def with_points(message: Marker, points: NDArray[np.float64], colours: NDArray[np.float32]) -> bytes:
    """A marker without points, serialised with points (M,3) and colours (M,4) in red, green, blue and alpha, 0..1."""
    without = bytes(serialize_message(message))
    order = "<" if without[1] & 1 else ">"
    at = _points_at(message)
    count = np.array(len(points), f"{order}u4").tobytes()
    doubles_at = at + len(count)
    padding = bytes(_aligned(doubles_at, 8) - doubles_at) if len(points) else b""
    return b"".join(
        [
            without[: _ENCAPSULATION + at],
            count + padding + points.astype(f"{order}f8").tobytes(),
            count + colours.astype(f"{order}f4").tobytes(),
            without[_ENCAPSULATION + at + 2 * len(count) :],
        ]
    )


def _points_at(message: Marker) -> int:
    """Where the number of points stands in a serialised marker, in bytes behind the encapsulation."""
    at = 8  # header.stamp
    for text in (message.header.frame_id, message.ns):
        at = _aligned(at, 4) + 4 + len(text.encode("utf-8")) + 1
    at = _aligned(at, 4) + 3 * 4  # id, type, action
    at = _aligned(at, 8) + (7 + 3) * 8  # pose, scale
    return _aligned(at + 4 * 4 + 8 + 1, 4)  # color, lifetime, frame_locked


def _aligned(at: int, size: int) -> int:
    return at + -at % size
