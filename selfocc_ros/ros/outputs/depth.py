# SPDX-License-Identifier: Apache-2.0
"""Rendered depth of a camera as sensor_msgs/Image, and the CameraInfo that belongs to it (REP-118)."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.ros.stamps import time_message


def depth_image(depth: NDArray[np.float32], stamp_ns: int, frame: str) -> Image:
    """sensor_msgs/Image 32FC1 of depths (H, W) in metres along the optical axis; NaN where there is none.

    Args:
        frame: the camera's optical frame.
    """
    message = Image()
    message.header.stamp = time_message(stamp_ns)
    message.header.frame_id = frame
    message.height, message.width = depth.shape
    message.encoding = "32FC1"
    message.is_bigendian = 0
    message.step = 4 * depth.shape[1]
    message.data = array("B", np.ascontiguousarray(depth, "<f4").tobytes())
    return message


def camera_info(camera: CameraModel, stamp_ns: int, frame: str) -> CameraInfo:
    """sensor_msgs/CameraInfo of a camera. R is the identity and P is [K 0]: nothing is rectified."""
    message = CameraInfo()
    message.header.stamp = time_message(stamp_ns)
    message.header.frame_id = frame
    message.width, message.height = camera.width, camera.height
    pinhole = camera.model == "pinhole"
    message.distortion_model = "plumb_bob" if pinhole else camera.model
    message.d = array("d", (0.0,) * 5 if pinhole else camera.distortion)
    message.k = camera.matrix.ravel()
    message.r = np.eye(3).ravel()
    message.p = np.hstack([camera.matrix, np.zeros((3, 1))]).ravel()
    return message
