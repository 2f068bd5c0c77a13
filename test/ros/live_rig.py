# SPDX-License-Identifier: Apache-2.0
"""A vehicle that stands still and publishes: cameras at 10 Hz, /tf at 50 Hz, all stamped with the time of this machine.

Its argument is JSON and says what is wrong with it: `cameras` by name, each with some of

    info: [width, height] of its CameraInfo, or null for none;     offset_s: added to its stamps
    zero: its stamps are zero;    mute: it offers its topic and sends nothing;    raw: bgr8 instead of jpeg
    reliable: of its images;      unmounted: it is not in /tf_static

and `odometry` (false: none), `tf_reliable`, `static_latched`, `tf_delay_s`, `clock` (true: the same time on /clock).
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from selfocc_ros.ros import qos
from selfocc_ros.ros.spin import init, shut_down, spin_until_signal

SIZE = (64, 48)


def stamped(message: Any, stamp_ns: int, frame_id: str) -> Any:
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    message.header.frame_id = frame_id
    return message


def transform(stamp_ns: int, parent: str, child: str) -> TransformStamped:
    out = stamped(TransformStamped(child_frame_id=child), stamp_ns, parent)
    out.transform.rotation.w = 1.0
    return out


class Camera:
    def __init__(self, node: Node, name: str, wrong: dict[str, Any]) -> None:
        self.name, self.wrong = name, wrong
        raw = wrong.get("raw", False)
        base = f"/camera/{name}/image"
        profile = qos.profile(5, reliable=wrong.get("reliable", True))
        self.image = node.create_publisher(
            Image if raw else CompressedImage, base if raw else f"{base}/compressed", profile
        )
        self.info_size = wrong.get("info", SIZE)
        self.info = node.create_publisher(CameraInfo, f"/camera/{name}/camera_info", 5) if self.info_size else None
        pixels = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
        if raw:
            self.message = Image(width=SIZE[0], height=SIZE[1], encoding="bgr8", step=3 * SIZE[0])
            self.message.data = pixels.tobytes()
        else:
            self.message = CompressedImage(format="jpeg", data=cv2.imencode(".jpg", pixels)[1].tobytes())

    def send(self, now_ns: int) -> None:
        stamp_ns = 0 if self.wrong.get("zero") else now_ns + round(self.wrong.get("offset_s", 0.0) * 1e9)
        if self.info is not None:
            width, height = self.info_size
            info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
            info.k = np.array([50.0, 0, width / 2, 0, 50.0, height / 2, 0, 0, 1])
            self.info.publish(stamped(info, stamp_ns, f"{self.name}_optical"))
        if not self.wrong.get("mute"):
            self.image.publish(stamped(self.message, stamp_ns, f"{self.name}_optical"))


def main(spec: dict[str, Any]) -> None:
    init([])
    node = Node("live_rig", start_parameter_services=False)
    cameras = [Camera(node, name, wrong) for name, wrong in spec["cameras"].items()]
    latched = spec.get("static_latched", True)
    static = node.create_publisher(TFMessage, "/tf_static", qos.profile(1, latched=latched))
    timed = node.create_publisher(TFMessage, "/tf", qos.profile(100, reliable=spec.get("tf_reliable", True)))
    mounted = [transform(0, "base_link", f"{c.name}_optical") for c in cameras if not c.wrong.get("unmounted", False)]
    static.publish(TFMessage(transforms=mounted))
    delay_ns = round(spec.get("tf_delay_s", 0.0) * 1e9)

    def take() -> None:
        now_ns = time.time_ns()
        for camera in cameras:
            camera.send(now_ns)

    clock = node.create_publisher(Clock, "/clock", 10) if spec.get("clock") else None

    def move() -> None:
        if clock is not None:
            now = node.get_clock().now().to_msg()
            clock.publish(Clock(clock=now))
        timed.publish(TFMessage(transforms=[transform(time.time_ns() - delay_ns, "odom", "base_link")]))

    node.create_timer(0.1, take)
    if spec.get("odometry", True):
        node.create_timer(0.02, move)
    spin_until_signal(node)
    node.destroy_node()
    shut_down()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
