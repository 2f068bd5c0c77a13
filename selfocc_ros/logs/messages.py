# SPDX-License-Identifier: Apache-2.0
"""Builds the ROS 2 messages that recordings are made of, without ROS (rosbags' Humble definitions)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rosbags.typesys import Stores, get_typestore

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import matrix_to_quaternion

COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE = "sensor_msgs/msg/Image"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
TF = "tf2_msgs/msg/TFMessage"
ODOMETRY = "nav_msgs/msg/Odometry"
CLOCK = "rosgraph_msgs/msg/Clock"
POINT_CLOUD = "sensor_msgs/msg/PointCloud2"
_POINT_FIELDS = {"<f4": 7, "<u2": 4}  # FLOAT32 and UINT16 of sensor_msgs/PointField
OCCUPANCY_GRID = "nav_msgs/msg/OccupancyGrid"

Edge = tuple[str, str, int, NDArray[np.float64]]


@cache
def _types() -> dict[str, Any]:
    return dict(get_typestore(Stores.ROS2_HUMBLE).types)


def _make(kind: str, **fields: Any) -> Any:
    return _types()[kind](**fields)


def time(stamp_ns: int) -> Any:
    """builtin_interfaces/Time of nanoseconds since the epoch."""
    seconds, nanoseconds = divmod(int(stamp_ns), 1_000_000_000)
    return _make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)


def header(stamp_ns: int, frame_id: str) -> Any:
    """std_msgs/Header."""
    return _make("std_msgs/msg/Header", stamp=time(stamp_ns), frame_id=frame_id)


def compressed_image(stamp_ns: int, frame_id: str, data: bytes, form: str = "jpeg") -> Any:
    """sensor_msgs/CompressedImage; `data` are the bytes of a JPEG or PNG file."""
    return _make(COMPRESSED_IMAGE, header=header(stamp_ns, frame_id), format=form, data=np.frombuffer(data, np.uint8))


def image(stamp_ns: int, frame_id: str, pixels: NDArray[np.uint8], encoding: str = "rgb8") -> Any:
    """sensor_msgs/Image of pixels (H, W, C) or (H, W) uint8, packed."""
    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    return _make(
        IMAGE, header=header(stamp_ns, frame_id), height=height, width=width, encoding=encoding, is_bigendian=0,
        step=pixels.strides[0], data=pixels.reshape(-1),
    )  # fmt: skip


def camera_info(stamp_ns: int, frame_id: str, camera: CameraModel) -> Any:
    """sensor_msgs/CameraInfo of a camera; see `CameraModel.info_fields`."""
    return _make(
        CAMERA_INFO, header=header(stamp_ns, frame_id), **camera.info_fields(), binning_x=0, binning_y=0,
        roi=_make('sensor_msgs/msg/RegionOfInterest', x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )  # fmt: skip


def point_cloud(stamp_ns: int, frame_id: str, points: NDArray[np.void], dense: bool) -> Any:
    """sensor_msgs/PointCloud2, unordered.

    Args:
        points: (M) structured, fields of float32 or uint16 (little-endian); they become the cloud's fields.
        dense: whether every point is one that was measured.
    """
    fields = []
    for name in points.dtype.names or ():
        kind, offset = points.dtype.fields[name][:2]  # type: ignore[index]
        datatype = _POINT_FIELDS[kind.str]
        fields.append(_make("sensor_msgs/msg/PointField", name=name, offset=offset, datatype=datatype, count=1))
    return _make(
        POINT_CLOUD, header=header(stamp_ns, frame_id), height=1, width=len(points), fields=fields, is_bigendian=False,
        point_step=points.itemsize, row_step=points.nbytes, data=points.view(np.uint8).reshape(-1), is_dense=dense,
    )  # fmt: skip


def tf_message(edges: Iterable[Edge]) -> Any:
    """tf2_msgs/TFMessage of edges (parent, child, stamp in ns, parent_from_child 4x4)."""
    return _make(TF, transforms=[_transform(*edge) for edge in edges])


def odometry(
    stamp_ns: int, frame_id: str, child: str, odom_from_base: NDArray[np.float64],
    linear: ArrayLike = (0.0, 0.0, 0.0), angular: ArrayLike = (0.0, 0.0, 0.0),
) -> Any:  # fmt: skip
    """nav_msgs/Odometry: the pose of `child` in `frame_id`, and its velocities (m/s, rad/s) in `child` itself."""
    position, orientation = _vectors(odom_from_base)
    zeros = np.zeros(36)
    body = _make('geometry_msgs/msg/Pose', position=_make('geometry_msgs/msg/Point', **position),
                 orientation=_make('geometry_msgs/msg/Quaternion', **orientation))  # fmt: skip
    motion = _make("geometry_msgs/msg/Twist", linear=_vector(linear), angular=_vector(angular))
    return _make(
        ODOMETRY, header=header(stamp_ns, frame_id), child_frame_id=child,
        pose=_make('geometry_msgs/msg/PoseWithCovariance', pose=body, covariance=zeros),
        twist=_make('geometry_msgs/msg/TwistWithCovariance', twist=motion, covariance=zeros),
    )  # fmt: skip


def clock(stamp_ns: int) -> Any:
    """rosgraph_msgs/Clock."""
    return _make(CLOCK, clock=time(stamp_ns))


def _transform(parent: str, child: str, stamp_ns: int, parent_from_child: NDArray[np.float64]) -> Any:
    translation, rotation = _vectors(parent_from_child)
    transform = _make(
        'geometry_msgs/msg/Transform', translation=_make('geometry_msgs/msg/Vector3', **translation),
        rotation=_make('geometry_msgs/msg/Quaternion', **rotation),
    )  # fmt: skip
    return _make(
        "geometry_msgs/msg/TransformStamped", header=header(stamp_ns, parent), child_frame_id=child, transform=transform
    )


def _vectors(matrix: NDArray[np.float64]) -> tuple[dict[str, float], dict[str, float]]:
    matrix = np.asarray(matrix, np.float64)
    translation = dict(zip("xyz", (float(v) for v in matrix[:3, 3]), strict=True))
    quaternion = dict(zip("xyzw", (float(v) for v in matrix_to_quaternion(matrix[:3, :3])), strict=True))
    return translation, quaternion


def _vector(values: ArrayLike) -> Any:
    x, y, z = (float(v) for v in np.asarray(values, np.float64))
    return _make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)
