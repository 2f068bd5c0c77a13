# SPDX-License-Identifier: Apache-2.0
"""Laser scans of KITTI as sensor_msgs PointCloud2."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from selfocc_ros.logs.kitti.files import KittiError
from selfocc_ros.logs.messages import POINT_CLOUD, header

_FIELDS = ("x", "y", "z", "intensity")
_FLOAT32 = 7  # sensor_msgs/PointField
_POINT_BYTES = 4 * len(_FIELDS)


@cache
def _types() -> dict[str, Any]:
    return dict(get_typestore(Stores.ROS2_HUMBLE).types)


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
    if len(data) % _POINT_BYTES:
        raise KittiError(f"{file} is damaged: {len(data)} bytes are no whole number of points of {_POINT_BYTES} bytes")
    make = _types()["sensor_msgs/msg/PointField"]
    fields = [make(name=name, offset=4 * i, datatype=_FLOAT32, count=1) for i, name in enumerate(_FIELDS)]
    return _types()[POINT_CLOUD](
        header=header(stamp_ns, frame_id), height=1, width=len(data) // _POINT_BYTES, fields=fields,
        is_bigendian=False, point_step=_POINT_BYTES, row_step=len(data), data=np.frombuffer(data, np.uint8),
        is_dense=True,
    )  # fmt: skip
