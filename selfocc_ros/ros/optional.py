# SPDX-License-Identifier: Apache-2.0
"""Packages of an installed ROS, used where they are wanted, and missed in one sentence where they are not there.

None of them is needed: each has one function here, which imports it when it is called.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

import numpy as np

from selfocc_ros.errors import SelfOccError
from selfocc_ros.logs.convert import camera_frame
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.sensing.frames import CameraFrame, DecodeError


class MissingPackageError(SelfOccError, ImportError):
    """A package is asked for that is not installed; names it as one installs it."""


def message_filters() -> ModuleType:
    """The package message_filters.

    Raises:
        MissingPackageError: it is not there.
    """
    return _package("message_filters", "parameter sync.policy message_filters", "sync.policy: native needs nothing")


def check_packages(parameters: NodeParameters) -> None:
    """See that the packages which these parameters ask for are there.

    Raises:
        MissingPackageError: one is not.
    """
    if parameters.sync.policy == "message_filters":
        message_filters()


def converted(camera: str, message: Any) -> CameraFrame:
    """The frame of an Image in an encoding that only cv_bridge knows, as rgb8.

    Args:
        camera: its name.
        message: sensor_msgs/Image.

    Raises:
        MissingPackageError: cv_bridge is not there.
        DecodeError: cv_bridge cannot convert it either.
    """
    bridge = _package("cv_bridge", f"camera '{camera}': encoding '{message.encoding}'", "or publish another encoding")
    try:
        pixels = np.ascontiguousarray(bridge.CvBridge().imgmsg_to_cv2(message, desired_encoding="rgb8"))
    except Exception as error:  # cv_bridge throws what OpenCV, NumPy and boost throw
        raise DecodeError(
            f"camera '{camera}': cv_bridge cannot make rgb8 of encoding '{message.encoding}' ({error})"
        ) from error
    height, width = pixels.shape[:2]
    plain = camera_frame(camera, message)
    return CameraFrame(camera, plain.stamp_ns, plain.frame_id, "rgb8", pixels.reshape(-1), width, height)


def _package(name: str, purpose: str, otherwise: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        distro = os.environ.get("ROS_DISTRO") or "<distro>"
        package = f"ros-{distro}-{name.replace('_', '-')}"
        raise MissingPackageError(
            f"{purpose} needs {name}, which cannot be imported here ({error}): install {package}; {otherwise}"
        ) from error
