# SPDX-License-Identifier: Apache-2.0
"""A small rig that lives: cameras, /tf, /tf_static and /clock, and faults at command. A process of its own.

One command a line on standard input; `done COMMAND [ANSWER]` on standard output once it holds:

    camera NAME ok|gone|garbage|silent   as it should be | its publishers are destroyed | torn JPEGs | no images
    camera NAME size WIDTH HEIGHT        images and CameraInfo of another size
    camera NAME resize WIDTH HEIGHT      images of another size than CameraInfo says
    camera NAME frame FRAME              another frame_id, which no transform may know
    tf on|off                            odometry
    tf lag SECONDS                       odometry is so far behind
    mount NAME on|off                    whether /tf_static has this camera, from the next time it is sent on
    jump SECONDS                         stamps and /clock jump, forth or back
    loop SECONDS                         from now on time goes back every so many seconds; 0: it goes on
    lead SECONDS                         stamps of images are ahead of /clock and odometry
    stamps ok|zero|still                 stamps of images
    clock on|off
    await                                until each publisher of images has a subscriber
    pause                                time stands still and nothing is sent
    step                                 while paused: the next set of images and all that belongs to it, once; answers
                                         with the stamp of its first image
    run                                  time goes on; answers with the stamp that the next image will not be before
    end

Time runs as fast as the wall clock's, from `START_NS` on; with --loop S it goes back to the start every S seconds. All
messages are offered reliably, as the bag player offers them.
"""

from __future__ import annotations

import argparse
import queue
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from selfocc_ros.geometry.poses import BODY_FROM_OPTICAL, matrix_to_quaternion, pose_from_rpy
from selfocc_ros.ros import qos

START_NS = 1_700_000_000_000_000_000
SIZE = (64, 48)
YAWS = {"front": 0.0, "left": 1.5, "right": -1.5}
OFFSET_S = 0.005  # of each camera to the one before it
TF_HZ, CLOCK_HZ = 50.0, 50.0
SPEED = 5.0  # m/s, straight on


def jpeg(seed: int, size: tuple[int, int]) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.resize(pixels, size))[1])


def stamp(message: Any, stamp_ns: int) -> None:
    message.sec, message.nanosec = divmod(stamp_ns, 10**9)


def edge(parent: str, child: str, stamp_ns: int, pose: np.ndarray) -> TransformStamped:
    out = TransformStamped(child_frame_id=child)
    out.header.frame_id = parent
    stamp(out.header.stamp, stamp_ns)
    for axis, value in zip("xyz", pose[:3, 3], strict=True):
        setattr(out.transform.translation, axis, float(value))
    for axis, value in zip("xyzw", matrix_to_quaternion(pose[:3, :3]), strict=True):
        setattr(out.transform.rotation, axis, float(value))
    return out


@dataclass
class Camera:
    """One camera, and what is wrong with it."""

    node: Node
    name: str
    mode: str = "ok"
    size: tuple[int, int] = SIZE
    info_size: tuple[int, int] = SIZE
    frame: str = ""
    sent: int = 0
    _pictures: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._open()
        self.set("ok")

    def set(self, mode: str) -> None:
        if mode == "gone" and self.mode != "gone":
            self.node.destroy_publisher(self._image)
            self.node.destroy_publisher(self._info)
        elif self.mode == "gone" and mode != "gone":
            self._open()
        self.mode = mode
        if mode == "ok":
            self.size = self.info_size = SIZE
            self.frame = f"{self.name}_optical"

    def heard(self) -> bool:
        """Whether somebody subscribes, or there is nothing to subscribe to."""
        return self.mode == "gone" or bool(self._image.get_subscription_count() and self._info.get_subscription_count())

    def send(self, stamp_ns: int) -> None:
        if self.mode in ("gone", "silent"):
            return
        width, height = self.info_size
        info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
        focal = 0.8 * width
        info.k = np.array([focal, 0, (width - 1) / 2, 0, focal, (height - 1) / 2, 0, 0, 1])
        image = CompressedImage(format="jpeg")
        for message in (info, image):
            message.header.frame_id = self.frame
            stamp(message.header.stamp, stamp_ns)
        if self.size not in self._pictures:
            self._pictures[self.size] = [jpeg(seed, self.size) for seed in range(8)]
        picture = self._pictures[self.size][self.sent % 8]
        image.data = b"\xff\xd8\xff\xe0 no image" if self.mode == "garbage" else picture
        self._info.publish(info)
        self._image.publish(image)
        self.sent += 1

    def _open(self) -> None:
        topic = f"/camera/{self.name}"
        self._image = self.node.create_publisher(CompressedImage, f"{topic}/image/compressed", qos.profile(10))
        self._info = self.node.create_publisher(CameraInfo, f"{topic}/camera_info", qos.profile(10))


class Rig:
    """All of it; `run` until told to end."""

    def __init__(self, node: Node, rate_hz: float, loop_s: float) -> None:
        self._rate_hz = rate_hz
        self._loop_s = loop_s
        self._cameras = {name: Camera(node, name) for name in YAWS}
        self._tf = node.create_publisher(TFMessage, "/tf", qos.TF)
        self._static = node.create_publisher(TFMessage, "/tf_static", qos.TF_STATIC)
        self._clock = node.create_publisher(Clock, "/clock", qos.profile(10))
        self._mounted = dict.fromkeys(YAWS, True)
        self._odometry = self._ticking = True
        self._stamps = "ok"
        self._still_ns = 0
        self._begin_s = time.monotonic()
        self._paused_s: float | None = None  # the time at which it stands still
        self._loop_from_s = 0.0
        self._lead_s = self._lag_s = 0.0
        self._commands: queue.Queue[str] = queue.Queue()

    def run(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        self._mount()
        for due_s, what in self._events():
            while True:  # commands are obeyed within a tick
                try:
                    command = self._commands.get(timeout=max(0.0, due_s - time.monotonic()))
                except queue.Empty:
                    break
                if command == "end":
                    return
                answer = self._obey(*command.split())
                print(f"done {command} {answer}".rstrip(), flush=True)
            if self._paused_s is None:
                self._send(what)

    def _listen(self) -> None:
        for line in sys.stdin:
            self._commands.put(line.strip())
        self._commands.put("end")

    def _events(self) -> Iterator[tuple[float, str]]:
        """(time.monotonic() when due, what), for ever; what is late is sent at once, and nothing twice to catch up."""
        periods = {"clock": 1 / CLOCK_HZ, "tf": 1 / TF_HZ, **dict.fromkeys(YAWS, 1 / self._rate_hz)}
        due = {what: time.monotonic() + 0.1 for what in periods}
        for place, name in enumerate(YAWS):
            due[name] += OFFSET_S * place
        while True:
            what = min(due, key=lambda name: due[name])
            yield due[what], what
            behind = int(max(0.0, time.monotonic() - due[what]) / periods[what])
            due[what] += periods[what] * (1 + behind)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._begin_s if self._paused_s is None else self._paused_s

    def _set_elapsed(self, elapsed_s: float) -> None:
        if self._paused_s is not None:
            self._paused_s = elapsed_s
        self._begin_s = time.monotonic() - elapsed_s

    def _now_ns(self) -> int:
        elapsed_s = self._elapsed_s()
        if self._loop_s:
            elapsed_s = self._loop_from_s + (elapsed_s - self._loop_from_s) % self._loop_s
        return START_NS + round(elapsed_s * 1e9)

    def _image_ns(self) -> int:
        if self._stamps == "zero":
            return 0
        return self._still_ns if self._stamps == "still" else self._now_ns() + round(self._lead_s * 1e9)

    def _send(self, what: str) -> None:
        now_ns = self._now_ns()
        if what == "clock":
            if self._ticking:
                message = Clock()
                stamp(message.clock, now_ns)
                self._clock.publish(message)
        elif what == "tf":
            if self._odometry:
                self._send_odometry(now_ns - round(self._lag_s * 1e9))
        else:
            self._cameras[what].send(self._image_ns())

    def _send_odometry(self, stamp_ns: int) -> None:
        pose = np.eye(4)
        pose[0, 3] = SPEED * (stamp_ns - START_NS) * 1e-9
        self._tf.publish(TFMessage(transforms=[edge("odom", "base_link", stamp_ns, pose)]))

    def _step(self) -> int:
        """A set of images with all that comes with it; time moves by one period."""
        if self._paused_s is None:
            raise ValueError("a step needs a pause")
        self._set_elapsed(self._paused_s + 1 / self._rate_hz)
        self._send("clock")
        first_ns = self._now_ns()
        for k in range(round(TF_HZ / self._rate_hz) + 1):
            if self._odometry:
                # Newer than the images, as it will be by the time at which they are worked on.
                self._send_odometry(first_ns + round((k / TF_HZ - self._lag_s) * 1e9))
        begin_s = self._paused_s
        for place, name in enumerate(self._cameras):
            self._paused_s = begin_s + OFFSET_S * place
            self._send(name)
        self._paused_s = begin_s
        return self._image_ns()

    def _obey(self, kind: str, *rest: str) -> int | str:
        if kind == "camera":
            self._change(self._cameras[rest[0]], *rest[1:])
        elif kind == "tf":
            self._odometry = rest[0] != "off"
            self._lag_s = float(rest[1]) if rest[0] == "lag" else 0.0
        elif kind == "mount":
            self._mounted[rest[0]] = rest[1] == "on"
            self._mount()
        elif kind == "jump":
            self._set_elapsed(self._elapsed_s() + float(rest[0]))
        elif kind == "loop":
            now_s = (self._now_ns() - START_NS) * 1e-9
            self._set_elapsed(now_s)
            self._loop_from_s, self._loop_s = now_s, float(rest[0])
        elif kind == "lead":
            self._lead_s = float(rest[0])
        elif kind == "stamps":
            self._stamps, self._still_ns = rest[0], self._now_ns()
        elif kind == "clock":
            self._ticking = rest[0] == "on"
        elif kind == "await":
            while not all(camera.heard() for camera in self._cameras.values()):
                time.sleep(0.02)
        elif kind == "pause":
            self._paused_s = self._elapsed_s()
        elif kind == "step":
            return self._step()
        elif kind == "run":
            self._set_elapsed(self._elapsed_s())
            self._paused_s = None
            return self._image_ns()
        else:
            raise ValueError(f"unknown command {kind!r}")
        return ""

    @staticmethod
    def _change(camera: Camera, mode: str, *rest: str) -> None:
        if mode in ("size", "resize", "frame"):
            camera.set("ok")
        else:
            camera.set(mode)
        if mode == "frame":
            camera.frame = rest[0]
        if mode in ("size", "resize"):
            camera.size = (int(rest[0]), int(rest[1]))
        if mode == "size":
            camera.info_size = camera.size

    def _mount(self) -> None:
        edges = []
        for name, yaw in YAWS.items():
            if self._mounted[name]:
                optical = np.eye(4)
                optical[:3, :3] = BODY_FROM_OPTICAL
                body = pose_from_rpy([0.5, 0.3 * yaw, 1.5], 0.0, 0.0, yaw)
                edges.append(edge("base_link", f"{name}_optical", START_NS, body @ optical))
        self._static.publish(TFMessage(transforms=edges))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=10.0, help="images per second of each camera")
    parser.add_argument("--loop", type=float, default=0.0, help="seconds after which time goes back; 0 never")
    args = parser.parse_args()
    rclpy.init()
    node = Node("rig")
    Rig(node, args.rate, args.loop).run()
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
