# SPDX-License-Identifier: Apache-2.0
"""Laser scans of KITTI as sensor_msgs PointCloud2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from selfocc_ros.logs.kitti.files import KittiError
from selfocc_ros.logs.messages import point_cloud

_POINT = np.dtype([(name, "<f4") for name in ("x", "y", "z", "intensity")])


def cloud_message(stamp_ns: int, frame_id: str, file: Path) -> Any:
    """sensor_msgs/PointCloud2 of a scan; its data are the file's bytes.

    A point is x, y, z (m) and reflectance (0 .. 1), here called intensity, as 32-bit floats. The stamp is when the
    scanner faced forward. Points of odometry sequences are corrected for the vehicle's motion during the turn, those
    of raw drives are not.

    Raises:
        KittiError: the file cannot be read or is cut off.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise KittiError(f"{file} cannot be read ({error.strerror})") from error
    if len(data) % _POINT.itemsize:
        raise KittiError(
            f"{file} is damaged: {len(data)} bytes are no whole number of points of {_POINT.itemsize} bytes"
        )
    return point_cloud(stamp_ns, frame_id, np.frombuffer(data, _POINT), dense=True)
