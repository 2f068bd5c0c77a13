# SPDX-License-Identifier: Apache-2.0
"""LiDAR sweeps of nuScenes as sensor_msgs PointCloud2."""

from __future__ import annotations

from typing import Any

import numpy as np

from selfocc_ros.logs.messages import point_cloud
from selfocc_ros.logs.nuscenes.tables import NuScenesError

_IN_FILE = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<f4")])
_IN_MESSAGE = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2")])


def cloud_message(stamp_ns: int, frame_id: str, data: bytes, file: str) -> Any:
    """sensor_msgs/PointCloud2 of a `.pcd.bin` file: x, y, z (m), intensity, ring; unordered, not dense.

    Args:
        stamp_ns: when the sweep ended.
        frame_id: the LiDAR's frame.
        data: the file: five 32-bit floats a point.
        file: its name, for errors.

    Raises:
        NuScenesError: the file is cut off.
    """
    if len(data) % _IN_FILE.itemsize:
        raise NuScenesError(f"{file} is damaged: {len(data)} bytes are no whole number of points of 20 bytes")
    return point_cloud(stamp_ns, frame_id, np.frombuffer(data, _IN_FILE).astype(_IN_MESSAGE), dense=False)
