# SPDX-License-Identifier: Apache-2.0
"""From messages to the package's own types; messages of rclpy and of rosbags have the same attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.cameras import CalibrationError, CameraModel
from selfocc_ros.geometry.poses import pose
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.logs.records import BagError
from selfocc_ros.sensing.frames import CameraFrame, DecodeError, camera_from_info, frame_from_message


def stamp_ns(stamp: Any) -> int:
    """A builtin_interfaces/Time in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def camera_frame(camera: str, msg: Any, receive_ns: int | None = None) -> CameraFrame:
    """A CameraFrame of a sensor_msgs Image or CompressedImage. The bytes are not copied.

    It never fails: a compressed format that nobody can decode becomes the frame's encoding, and decoding says so.

    Args:
        receive_ns: used where the header stamp is zero (recorders that leave headers empty).
    """
    try:
        return frame_from_message(camera, msg, receive_ns)
    except DecodeError:
        time_ns = stamp_ns(msg.header.stamp) or (receive_ns or 0)
        frame_id = str(msg.header.frame_id).lstrip("/")
        return CameraFrame(camera, time_ns, frame_id, str(msg.format) or "unknown", msg.data)


def camera_model(msg: Any, topic: str = "camera_info", rectified: bool = False) -> CameraModel:
    """The CameraModel of a CameraInfo, for rectified images where so; raises CalibrationError that names the topic."""
    try:
        return camera_from_info(msg, rectified)
    except CalibrationError as error:
        raise CalibrationError(f"{topic}: {error}") from error


def feed(tree: TransformTree, msg: Any, static: bool) -> list[tuple[str, str, SelfOccError]]:
    """Put the transforms of a tf2_msgs TFMessage into the tree, one at a time.

    A broken transform does not take the others of its message with it.

    Returns:
        (parent, child, reason) of those that are broken.
    """
    broken = []
    for item in msg.transforms:
        parent, child = item.header.frame_id, item.child_frame_id
        t, q = item.transform.translation, item.transform.rotation
        try:
            parent_from_child = pose(np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w]))
            if static:
                tree.set_static(parent, child, parent_from_child)
            else:
                tree.set(parent, child, stamp_ns(item.header.stamp), parent_from_child)
        except SelfOccError as error:
            broken.append((parent, child, error))
    return broken


def cloud_points(msg: Any) -> NDArray[np.float32]:
    """The x, y, z (M,3) of a sensor_msgs PointCloud2 whose coordinates are 32-bit floats.

    Raises BagError where the cloud has other fields.
    """
    offsets = {field.name: int(field.offset) for field in msg.fields if int(field.datatype) == 7}  # FLOAT32
    if not {"x", "y", "z"} <= set(offsets):
        found = ", ".join(str(field.name) for field in msg.fields)
        raise BagError(f"a point cloud needs the fields x, y, z as 32-bit floats, found {found}")
    order = ">" if msg.is_bigendian else "<"
    kind = np.dtype(
        {
            "names": ["x", "y", "z"],
            "formats": [f"{order}f4"] * 3,
            "offsets": [offsets[axis] for axis in "xyz"],
            "itemsize": int(msg.point_step),
        }
    )
    points = np.frombuffer(msg.data, kind, count=int(msg.width) * int(msg.height))
    return np.stack([points[axis] for axis in "xyz"], axis=-1).astype(np.float32)
