# SPDX-License-Identifier: Apache-2.0
"""Small recordings of three cameras on a moving vehicle, whole or with something wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import pose_from_rpy
from selfocc_ros.logs import messages
from selfocc_ros.logs.writer import BagWriter

START = 1_700_000_000_000_000_000
OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Mounted:
    base_from_camera: NDArray[np.float64]
    offset_s: float


CAMERAS = {
    "back": Mounted(pose_from_rpy((-0.5, 0, 1.5), 0, 0, np.pi) @ OPTICAL, 0.0),
    "front": Mounted(pose_from_rpy((1.5, 0, 1.5), 0, 0, 0) @ OPTICAL, 0.013),
    "left": Mounted(pose_from_rpy((0.5, 0.8, 1.6), 0, 0, np.pi / 2) @ OPTICAL, 0.025),
}


def odom_from_base(stamp_ns: int) -> NDArray[np.float64]:
    """10 m/s in a bend of 20 m radius."""
    t = (stamp_ns - START) * 1e-9
    yaw = 0.5 * t
    return pose_from_rpy((20 * np.sin(yaw), 20 * (1 - np.cos(yaw)), 0), 0, 0, yaw)


@cache
def _jpeg(width: int, height: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.GaussianBlur(noise, (0, 0), 2))[1].tobytes())


def write_drive(
    path: Path,
    seconds: float = 2.0,
    image_rate_hz: float = 10.0,
    size: tuple[int, int] = (64, 36),
    infos: bool = True,
    odometry: bool = True,
    tf_delay_s: float = 0.002,
    receive_offset_s: float = 0.0,
    dead: Mapping[str, float] | None = None,
    unmounted: Collection[str] = (),
    uncalibrated: Collection[str] = (),
    corrupt: Collection[str] = (),
    unstamped: Collection[str] = (),
    broken_transform: bool = False,
    base_frame: str = "base_link",
    info_size: tuple[int, int] | None = None,
    rectified: bool = False,
) -> Path:
    """Write a recording; the arguments after `image_rate_hz` say what is wrong with it."""
    width, height = info_size or size
    camera = CameraModel(width, height, np.array([[40.0, 0, width / 2], [0, 40.0, height / 2], [0, 0, 1]]))
    events: list[tuple[int, str, object]] = []
    shift = round(receive_offset_s * 1e9)
    mounts = [
        (base_frame, f"{name}_optical", START, mounted.base_from_camera)
        for name, mounted in CAMERAS.items()
        if name not in unmounted
    ]
    static = messages.tf_message(mounts)
    if broken_transform:
        spoilt = messages.tf_message([(base_frame, "broken", START, np.eye(4))])
        spoilt.transforms[0].transform.rotation.w = 0.0
        static = messages.tf_message([])
        static.transforms[:] = [*spoilt.transforms, *messages.tf_message(mounts).transforms]
    events.append((START + shift, "/tf_static", static))
    if odometry:
        for i in range(round(seconds * 50) + 20):
            now = START + round((i - 5) * 2e7)
            tf = messages.tf_message([("odom", base_frame, now, odom_from_base(now))])
            events.append((now + round(tf_delay_s * 1e9) + shift, "/tf", tf))
    for name, mounted in CAMERAS.items():
        for i in range(round(seconds * image_rate_hz)):
            t = i / image_rate_hz + mounted.offset_s
            if dead and t > dead.get(name, np.inf):
                continue
            now = START + round(t * 1e9)
            stamp = 0 if name in unstamped else now
            jpeg = b"\xff\xd8 not an image" if name in corrupt else _jpeg(*size)
            image = messages.compressed_image(stamp, f"{name}_optical", jpeg)
            info = messages.camera_info(stamp, f"{name}_optical", camera)
            if name in uncalibrated:
                info.k[0] = np.nan
            if rectified:
                info.d = np.array([-0.3, 0.1, 0.0, 0.0, 0.0])
                info.p = np.array([30.0, 0, 31.0, 0, 0, 30.0, 17.0, 0, 0, 0, 1, 0])
            topic = f"/camera/{name}/image_rect/compressed" if rectified else f"/camera/{name}/image/compressed"
            if infos:
                events.append((now + 20_000_000 + shift, f"/camera/{name}/camera_info", info))
            events.append((now + 30_000_000 + shift, topic, image))
    with BagWriter(path) as bag:
        for _, topic, msg in sorted(events, key=lambda e: e[0]):
            if topic not in bag.topics:
                bag.add_topic(topic, msg.__msgtype__)
        for receive_ns, topic, msg in sorted(events, key=lambda e: e[0]):
            bag.write(topic, receive_ns, msg)
    return path
