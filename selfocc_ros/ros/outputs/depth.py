# SPDX-License-Identifier: Apache-2.0
"""`~/depth/<camera>`: what the network takes for the depth of each pixel, and the CameraInfo beside it (REP-118)."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, Image

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.ros import qos
from selfocc_ros.ros.pipeline import PredictionLike, PredictorLike
from selfocc_ros.ros.stamps import time_message
from selfocc_ros.sensing.frames import CameraFrame, RigSample

Attempt = Callable[[str, Callable[[], None]], float]

LEAST_OPACITY = 0.5
"""Pixels of which less ends within the grid have no depth: sky, and what is further away than the grid reaches."""


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
    """sensor_msgs/CameraInfo of a camera; see `CameraModel.info_fields`."""
    fields = camera.info_fields()
    message = CameraInfo(**{**fields, "d": array("d", fields["d"])})
    message.header.stamp = time_message(stamp_ns)
    message.header.frame_id = frame
    return message


def topic_name(camera: str) -> str:
    """The name of a camera as ROS takes it in a topic: letters, digits and underscores, no digit first."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", camera)
    return f"_{name}" if name[:1].isdigit() else name


class DepthTopics:
    """Publishers of depth, made when a camera is first seen. Images are rendered for those that are subscribed to.

    Depth carries the stamp and the optical frame of the camera's own image, and lies on every `depth_stride`-th pixel
    of it.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._closed = False
        self._publishers: dict[str, tuple[Publisher, Publisher]] = {}
        # Rays are kept with the camera model, and the strided one is small.
        self._strided: dict[str, tuple[CameraModel, int, CameraModel]] = {}

    def publish(
        self, predictor: PredictorLike, prediction: PredictionLike, sample: RigSample, stride: int, attempt: Attempt
    ) -> dict[str, float]:
        """Render and publish what is subscribed to; seconds by topic of what was rendered.

        Args:
            predictor: that of the prediction.
            attempt: does a piece of work of a topic, whatever comes of it, and returns its seconds.
        """
        took: dict[str, float] = {}
        views = zip(sample.frames, sample.rig.cameras, sample.rig.base_from_camera, strict=True)
        for frame, camera, base_from_camera in views:
            if self._closed:
                break
            images, infos = self._of(frame.camera)
            if images.get_subscription_count() or infos.get_subscription_count():
                view = frame, self._small(frame.camera, camera, stride), base_from_camera
                name = f"depth/{frame.camera}"
                took[name] = attempt(name, partial(_send, predictor, prediction, *view, images, infos))
        return took

    def close(self) -> None:
        """Take the topics away."""
        self._closed = True
        for pair in list(self._publishers.values()):
            for publisher in pair:
                self._node.destroy_publisher(publisher)

    def _of(self, camera: str) -> tuple[Publisher, Publisher]:
        if camera not in self._publishers:
            topic = f"~/depth/{topic_name(camera)}"
            kinds: tuple[tuple[Any, str], ...] = ((Image, topic), (CameraInfo, f"{topic}/camera_info"))
            images, infos = (qos.offer(self._node, kind, name, qos.POINTS) for kind, name in kinds)
            self._publishers[camera] = images, infos
        return self._publishers[camera]

    def _small(self, name: str, camera: CameraModel, stride: int) -> CameraModel:
        known = self._strided.get(name)
        if known is None or known[0] != camera or known[1] != stride:
            known = self._strided[name] = (camera, stride, camera.strided(stride))
        return known[2]


def _send(
    predictor: PredictorLike,
    prediction: PredictionLike,
    frame: CameraFrame,
    camera: CameraModel,
    base_from_camera: NDArray[np.float64],
    images: Publisher,
    infos: Publisher,
) -> None:
    if infos.get_subscription_count():
        infos.publish(camera_info(camera, frame.stamp_ns, frame.frame_id))
    if images.get_subscription_count():
        depth = predictor.render_depth(prediction, camera, base_from_camera, least_opacity=LEAST_OPACITY)
        images.publish(depth_image(depth, frame.stamp_ns, frame.frame_id))
