# SPDX-License-Identifier: Apache-2.0
"""CameraInputs of one node, fed by another, over DDS within one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros import qos
from selfocc_ros.ros.complaints import Complaints
from selfocc_ros.ros.domain import own_domain
from selfocc_ros.ros.inputs import CameraInputs
from selfocc_ros.ros.status import Status
from selfocc_ros.sensing.rig_source import RigSource


class InputBench:
    """What comes in lies in `sets`, `jumps` and `told`; `publisher` offers topics."""

    def __init__(self, context: rclpy.Context, parameters: NodeParameters) -> None:
        self.listener, self.camera = Node("listener", context=context), Node("camera", context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.listener)
        self.executor.add_node(self.camera)
        self.sets: list[Any] = []
        self.jumps: list[float] = []
        self.told: list[str] = []
        self.status = Status()
        self.tree = TransformTree()
        self.announce: Callable[[Any], None] = lambda mountings: None  # noqa: ARG005  a test may replace it
        self.inputs = CameraInputs(
            self.listener,
            RigSource.of(parameters),
            self.status,
            Complaints(self.told.append),
            self.sets.extend,
            self.jumps.append,
            tree=self.tree,
            on_mountings=lambda mountings: self.announce(mountings),
        )

    def until(self, condition: Callable[[], Any], what: str, work: Callable[[], Any] = lambda: None) -> None:
        deadline = time.monotonic() + 30.0
        while not condition():
            assert time.monotonic() < deadline, what
            work()
            self.inputs.look(time.monotonic())
            self.executor.spin_once(timeout_sec=0.02)

    def publisher(self, kind: Any, topic: str, **options: bool) -> Any:
        return self.camera.create_publisher(kind, topic, qos.profile(5, **options))


@contextmanager
def input_bench(**parameters: Any) -> Iterator[InputBench]:
    """A bench with these parameters of the node."""
    context = rclpy.Context()
    with own_domain() as domain:
        rclpy.init(context=context, domain_id=domain)
        out = InputBench(context, NodeParameters.of(parameters))
        try:
            yield out
        finally:
            out.listener.destroy_node()
            out.camera.destroy_node()
            context.shutdown()


def stamped(message: Any, stamp_ns: int, frame_id: str = "front_optical") -> Any:
    """The message with this header."""
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    message.header.frame_id = frame_id
    return message


def compressed_image(stamp_ns: int) -> CompressedImage:
    """The beginning of a JPEG, which is all that a synchroniser needs."""
    return stamped(CompressedImage(format="jpeg", data=b"\xff\xd8\xff\xe0"), stamp_ns)


def raw_image(stamp_ns: int, pixels: Any, encoding: str = "rgb8") -> Image:
    """An Image of packed pixels (H,W,...)."""
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding=encoding, step=pixels.strides[0], data=pixels.tobytes())
    return stamped(message, stamp_ns)


def camera_info(camera: CameraModel) -> CameraInfo:
    """The CameraInfo of a camera."""
    model = "plumb_bob" if camera.model == "pinhole" else camera.model
    out = CameraInfo(height=camera.height, width=camera.width, distortion_model=model, d=list(camera.distortion))
    out.k = np.array(camera.matrix, np.float64).ravel()
    return out
