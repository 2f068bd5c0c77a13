# SPDX-License-Identifier: Apache-2.0
"""From messages to the package's own types; messages of rclpy and of rosbags have the same attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CalibrationError, CameraModel
from selfocc_ros.geometry.poses import pose
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.sensing.frames import CameraFrame


def stamp_ns(stamp: Any) -> int:
    """A builtin_interfaces/Time in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def compressed_encoding(format_field: str, data: bytes | memoryview | NDArray[np.uint8]) -> str:
    """'jpeg', 'png' or what else a CompressedImage holds.

    `format` is "jpeg", "bgr8; jpeg compressed bgr8" or left empty by some drivers, so the first bytes decide.
    """
    head = bytes(data[:8])
    if head[:2] == b'\xff\xd8':
        return 'jpeg'
    if head == b'\x89PNG\r\n\x1a\n':
        return 'png'
    text = format_field.lower()
    if 'compresseddepth' in text:
        return 'compressedDepth'
    if 'jpeg' in text or 'jpg' in text:
        return 'jpeg'
    return 'png' if 'png' in text else (format_field or 'unknown')


def camera_frame(camera: str, msg: Any, receive_ns: int | None = None) -> CameraFrame:
    """A CameraFrame of a sensor_msgs Image or CompressedImage. The bytes are not copied.

    Args:
        receive_ns: used instead of the header stamp where given (recorders that leave headers empty).
    """
    time_ns = stamp_ns(msg.header.stamp) if receive_ns is None else receive_ns
    if hasattr(msg, 'format'):
        encoding = compressed_encoding(msg.format, msg.data)
        return CameraFrame(camera, time_ns, msg.header.frame_id, encoding, msg.data)
    return CameraFrame(
        camera, time_ns, msg.header.frame_id, msg.encoding, msg.data,
        width=int(msg.width), height=int(msg.height), step=int(msg.step), is_bigendian=bool(msg.is_bigendian),
    )  # fmt: skip


def camera_model(msg: Any, topic: str = 'camera_info') -> CameraModel:
    """The CameraModel of a sensor_msgs CameraInfo; raises CalibrationError that names the topic.

    `binning` and `roi` are refused where they are used: width, height and k would not describe the image that is sent.
    """
    expected = 'expected the calibration of the image as it is sent'
    if max(int(msg.binning_x), int(msg.binning_y)) > 1:
        raise CalibrationError(f'{topic}: binning {msg.binning_x}x{msg.binning_y} is set, {expected}')
    if int(msg.roi.width) not in (0, int(msg.width)) or int(msg.roi.height) not in (0, int(msg.height)):
        raise CalibrationError(f'{topic}: a region of interest is set, {expected}')
    try:
        return CameraModel.from_camera_info(
            int(msg.width), int(msg.height), [float(v) for v in msg.k], [float(v) for v in msg.d], msg.distortion_model
        )
    except CalibrationError as error:
        raise CalibrationError(f'{topic}: {error}') from error


def transforms(msg: Any) -> Iterator[tuple[str, str, int, NDArray[np.float64]]]:
    """(parent, child, stamp in ns, parent_from_child) of every transform in a tf2_msgs TFMessage.

    Raises TransformError (from the tree, on feeding) only later; a quaternion of zeros is passed on as it is.
    """
    for item in msg.transforms:
        t, q = item.transform.translation, item.transform.rotation
        yield (
            item.header.frame_id,
            item.child_frame_id,
            stamp_ns(item.header.stamp),
            pose(np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w])),
        )


def feed(tree: TransformTree, msg: Any, static: bool) -> None:
    """Put every transform of a TFMessage into the tree."""
    for parent, child, time_ns, parent_from_child in transforms(msg):
        if static:
            tree.set_static(parent, child, parent_from_child)
        else:
            tree.set(parent, child, time_ns, parent_from_child)
