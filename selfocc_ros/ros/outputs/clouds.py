# SPDX-License-Identifier: Apache-2.0
"""Occupied and free voxels as sensor_msgs/PointCloud2.

Message fields are filled from `array.array`: rclpy copies that at once, and anything else element by element.
"""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField

from selfocc_ros.geometry.voxels import FREE, OCCUPIED, OccupancyVolume, VoxelGrid, VoxelIndex, where
from selfocc_ros.ros.stamps import time_message
from selfocc_ros.viz.colours import volume_palette

XYZ = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4")])

#: One point as RViz and PCL read it: the colour is 0x00RRGGBB in the bytes of a float32.
POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])

#: The same with the label of the class; points stay aligned to 4 bytes.
LABELLED_POINT = np.dtype(
    {
        "names": ["x", "y", "z", "rgb", "label"],
        "formats": ["<f4", "<f4", "<f4", "<u4", "u1"],
        "offsets": [0, 4, 8, 12, 16],
        "itemsize": 20,
    }
)


def point_cloud(points: NDArray[np.void], stamp_ns: int, frame: str) -> PointCloud2:
    """sensor_msgs/PointCloud2 of structured points (M): its fields are theirs, float32 but for `label` (uint8)."""
    message = PointCloud2()
    message.header.stamp = time_message(stamp_ns)
    message.header.frame_id = frame
    message.height, message.width = 1, len(points)
    message.fields = [
        PointField(
            name=name, offset=4 * place, datatype=PointField.UINT8 if name == "label" else PointField.FLOAT32, count=1
        )
        for place, name in enumerate(points.dtype.names or ())
    ]
    message.is_bigendian = False
    message.point_step = points.dtype.itemsize
    message.row_step = points.dtype.itemsize * len(points)
    message.is_dense = True
    message.data = array("B", points.tobytes())
    return message


def structured(grid: VoxelGrid, index: VoxelIndex, dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """Points (M) with x, y, z at the centres of voxels; all else, the bytes between fields too, is zero."""
    points = np.zeros(len(index[0]), dtype)
    for axis, name in enumerate("xyz"):
        points[name] = grid.line(axis).astype(np.float32)[index[axis]]
    return points


def occupied_points(
    volume: OccupancyVolume, stamp_ns: int, frame: str, ground_z: float = 0.0, surface_only: bool = False
) -> PointCloud2:
    """sensor_msgs/PointCloud2 with one point at the centre of each occupied voxel.

    Fields x, y, z (float32, metres in `frame`) and rgb (packed into a float32); points are in [x, y, z] order. Of a
    volume with classes points have the field label (uint8, index of `class_names`) as well and the colour of their
    class; else colours go by height above the ground.

    Args:
        surface_only: leave out voxels whose six neighbours are all occupied.
    """
    index = where(volume.surface() if surface_only else volume.state == OCCUPIED)
    points = structured(volume.grid, index, POINT if volume.classes is None else LABELLED_POINT)
    palette, entries = volume_palette(volume, index, ground_z)
    red, green, blue = palette.astype(np.uint32).T
    points["rgb"] = (red << 16 | green << 8 | blue)[entries]
    if volume.classes is not None:
        points["label"] = entries
    return point_cloud(points, stamp_ns, frame)


def free_points(volume: OccupancyVolume, stamp_ns: int, frame: str, band_ZXY: NDArray[np.bool_]) -> PointCloud2:
    """sensor_msgs/PointCloud2 with one point x, y, z at the centre of each voxel of a band that is seen to be free.

    Args:
        band_ZXY: which voxels count, layers first, as `in_band` says.
    """
    free = (volume.state_ZXY == FREE) & band_ZXY
    return point_cloud(structured(volume.grid, where(free.transpose(1, 2, 0)), XYZ), stamp_ns, frame)
