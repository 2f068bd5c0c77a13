# SPDX-License-Identifier: Apache-2.0
"""Six cameras and their vehicle as a process of its own, for benchmarks: images, CameraInfo, /tf and /tf_static.

Messages are serialised once and sent with new stamps, so that the sender leaves the cores to what is measured. Images
come `DELAY_S` after they were taken, as cameras deliver them, in the ring order of nuScenes' cameras; odometry comes
at 100 Hz and at once. A JSON line tells when sending begins, another one what was sent.
"""

from __future__ import annotations

import argparse
import heapq
import json
import struct
import sys
import time
from collections.abc import Iterator

import cv2
import numpy as np
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from selfocc_ros.geometry.poses import matrix_to_quaternion, pose_from_rpy
from selfocc_ros.ros import qos

WIDTH, HEIGHT = 1600, 900
JPEG_BYTES = 150_000
PHASES_S = {
    "front_left": -0.008, "front": 0.0, "front_right": 0.008, "back_right": 0.016, "back": 0.025, "back_left": 0.035
}  # fmt: skip
YAWS = {"front": 0.0, "front_left": 0.96, "front_right": -0.96, "back_left": 1.92, "back_right": -1.92, "back": 3.14}
DELAY_S = 0.03
ODOMETRY_HZ = 100.0
MATCH_TIMEOUT_S = 60.0
SETTLE_S = 2.0  # after the last subscription is matched on this side, for the other side to match too


def stamped(data: bytes, stamp_ns: int) -> bytes:
    """The serialised message, which starts with a header, with another stamp (CDR, little-endian)."""
    return b"".join((data[:4], struct.pack("<iI", *divmod(stamp_ns, 10**9)), memoryview(data)[12:]))


def jpeg() -> bytes:
    """A JPEG of about `JPEG_BYTES`, the rest filled up with zeros behind its end, as some encoders do."""
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT // 12, WIDTH // 12, 3), np.uint8)
    data = bytes(cv2.imencode(".jpg", cv2.resize(noise, (WIDTH, HEIGHT)), [cv2.IMWRITE_JPEG_QUALITY, 70])[1])
    return data.ljust(JPEG_BYTES, b"\0")


def image_message(raw: bool, frame_id: str) -> Image | CompressedImage:
    """An image without a stamp."""
    if raw:
        message = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
        message.data = np.random.default_rng(0).integers(0, 255, HEIGHT * WIDTH * 3, np.uint8).tobytes()
    else:
        message = CompressedImage(format="jpeg")
        message.data = jpeg()
    message.header.frame_id = frame_id
    return message


def info_message(frame_id: str) -> CameraInfo:
    """A calibration without a stamp."""
    focal = 0.79 * WIDTH
    message = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[0.0] * 5)
    message.k = np.array([focal, 0, WIDTH / 2, 0, focal, HEIGHT / 2, 0, 0, 1])
    message.header.frame_id = frame_id
    return message


def transform(parent: str, child: str, pose: np.ndarray, stamp_ns: int = 0) -> TransformStamped:
    """One edge of the tree."""
    out = TransformStamped(child_frame_id=child)
    out.header.frame_id = parent
    out.header.stamp.sec, out.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    out.transform.translation.x, out.transform.translation.y, out.transform.translation.z = map(float, pose[:3, 3])
    x, y, z, w = map(float, matrix_to_quaternion(pose[:3, :3]))
    out.transform.rotation.x, out.transform.rotation.y, out.transform.rotation.z, out.transform.rotation.w = x, y, z, w
    return out


class Cameras:
    """The publishers, and what they send."""

    def __init__(self, node: Node, raw: bool, reliable: bool) -> None:
        self._node = node
        image_qos = qos.profile(5, reliable=reliable)
        self._images, self._infos = {}, {}
        for name in PHASES_S:
            frame_id = f"{name}_optical"
            topic = f"/{name}/image_raw" + ("" if raw else "/compressed")
            publisher = node.create_publisher(Image if raw else CompressedImage, topic, image_qos)
            self._images[name] = (publisher, serialize_message(image_message(raw, frame_id)))
            publisher = node.create_publisher(CameraInfo, f"/{name}/camera_info", image_qos)
            self._infos[name] = (publisher, serialize_message(info_message(frame_id)))
        self._tf = node.create_publisher(TFMessage, "/tf", qos.TF)
        self._static = node.create_publisher(TFMessage, "/tf_static", qos.TF_STATIC)
        optical = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
        mounts = []
        for name, yaw in YAWS.items():
            pose = pose_from_rpy([1.0, 0.0, 1.5], 0.0, 0.0, yaw)
            pose[:3, :3] = pose[:3, :3] @ optical
            mounts.append(transform("base_link", f"{name}_optical", pose))
        self._static.publish(TFMessage(transforms=mounts))
        self.sent = dict.fromkeys(PHASES_S, 0)

    def await_subscriptions(self) -> bool:
        """Wait until every image has a subscription; odometry is sent meanwhile."""
        deadline = time.monotonic() + MATCH_TIMEOUT_S
        while not all(publisher.get_subscription_count() for publisher, _ in self._images.values()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            self.odometry(time.time_ns())
            time.sleep(1 / ODOMETRY_HZ)
        return True

    def odometry(self, stamp_ns: int) -> None:
        """Send where the vehicle is: it drives straight on at 10 m/s."""
        pose = np.eye(4)
        pose[0, 3] = 10.0 * (stamp_ns * 1e-9 % 1000.0)
        self._tf.publish(TFMessage(transforms=[transform("odom", "base_link", pose, stamp_ns)]))

    def image(self, name: str, stamp_ns: int) -> None:
        """Send an image and its calibration."""
        for publisher, data in (self._infos[name], self._images[name]):
            publisher.publish(stamped(data, stamp_ns))
        self.sent[name] += 1


def schedule(seconds: float, rate_hz: float) -> Iterator[tuple[float, str, float]]:
    """(when to send, camera or "" for odometry, when it was taken), in seconds from the start, in order."""
    images = sorted(
        (k / rate_hz + phase + DELAY_S, name, k / rate_hz + phase)
        for k in range(round(seconds * rate_hz))
        for name, phase in PHASES_S.items()
    )
    odometry = ((k / ODOMETRY_HZ, "", k / ODOMETRY_HZ) for k in range(round((seconds + 0.5) * ODOMETRY_HZ)))
    return heapq.merge(images, odometry)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--raw", action="store_true", help="rgb8 instead of JPEG")
    parser.add_argument("--reliable", action="store_true", help="offer images reliably; best effort if not")
    parser.add_argument("--rate", type=float, default=12.0, help="images per second of each camera (12)")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long to send (15)")
    args = parser.parse_args()
    rclpy.init()
    node = Node("cameras")
    cameras = Cameras(node, args.raw, args.reliable)
    if not cameras.await_subscriptions():
        sys.stderr.write(f"cameras: nobody subscribed to all images within {MATCH_TIMEOUT_S:g} s\n")
        return 2
    print(json.dumps({"event": "begin"}), flush=True)
    begin_ns, latest_s = time.time_ns() + 100_000_000, 0.0
    for due_s, name, taken_s in schedule(args.seconds, args.rate):
        wait_s = begin_ns * 1e-9 + due_s - time.time()
        latest_s = max(latest_s, -wait_s)
        if wait_s > 0:
            time.sleep(wait_s)
        stamp_ns = begin_ns + round(taken_s * 1e9)
        if name:
            cameras.image(name, stamp_ns)
        else:
            cameras.odometry(stamp_ns)
    print(json.dumps({"event": "end", "sent": cameras.sent, "latest_s": latest_s}), flush=True)
    time.sleep(SETTLE_S)  # reliable messages may still be on their way
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
