# SPDX-License-Identifier: Apache-2.0
"""LiDAR sweeps of nuScenes as sensor_msgs PointCloud2."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from selfocc_ros.logs.messages import POINT_CLOUD, header
from selfocc_ros.logs.nuscenes.tables import NuScenesError

_IN_FILE = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<f4")])
_IN_MESSAGE = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2")])
_DATATYPES = {"<f4": 7, "<u2": 4}  # FLOAT32 and UINT16 of sensor_msgs/PointField


@cache
def _types() -> dict[str, Any]:
    return dict(get_typestore(Stores.ROS2_HUMBLE).types)


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
    points = np.frombuffer(data, _IN_FILE).astype(_IN_MESSAGE)
    fields = []
    for name in _IN_MESSAGE.names or ():
        kind, offset = _IN_MESSAGE.fields[name][:2]  # type: ignore[index]
        make = _types()["sensor_msgs/msg/PointField"]
        fields.append(make(name=name, offset=offset, datatype=_DATATYPES[kind.str], count=1))
    return _types()[POINT_CLOUD](
        header=header(stamp_ns, frame_id), height=1, width=len(points), fields=fields, is_bigendian=False,
        point_step=_IN_MESSAGE.itemsize, row_step=points.nbytes, data=points.view(np.uint8).reshape(-1),
        is_dense=False,
    )  # fmt: skip
