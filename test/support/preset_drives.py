# SPDX-License-Identifier: Apache-2.0
"""Small recordings as other projects write them: one for each preset of config/layouts.

Topics, types, encodings, frames, stamps and the ways in which transforms are sent are those of the originals; images
are small, and a second or two are enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import body_from_optical, pose_from_rpy
from selfocc_ros.logs import messages
from selfocc_ros.logs.writer import BagWriter

START_NS = 1_700_000_000_000_000_000
SIZE = (48, 32)
CAMERA = CameraModel(*SIZE, np.array([[40.0, 0, 23.5], [0, 40.0, 15.5], [0, 0, 1]]))

NUSCENES_PHASES = {
    "front": 0.0, "front_left": -0.0076, "front_right": 0.0079, "back_right": 0.0154, "back": 0.0252,
    "back_left": 0.0350,
}  # fmt: skip
PANDASET_PHASES = {
    "front": 0.0, "front_left": -0.0107, "front_right": 0.0108, "left": -0.0313, "right": 0.0314, "back": -0.05,
}  # fmt: skip
YAWS = {
    "front": 0.0, "front_left": 1.0, "front_right": -1.0, "left": 1.6, "right": -1.6, "back": 3.1, "back_left": 1.9,
    "back_right": -1.9,
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How one project records.

    Attributes:
        image, info: topics; {camera} is the name, {CAMERA} in upper case. No info: none is recorded.
        frame: optical frames, in the same way.
        phases: when each camera fires, seconds.
        rate_hz: of the images.
        encoding: of raw images; empty for JPEG.
        fixed: the frame of the odometry.
        tf_hz: rate of /tf.
        static: whether mountings are on /tf_static; else they come again and again on /tf.
        empty_headers: headers of images say nothing.
        moving: whether the vehicle moves.
    """

    image: str
    info: str
    frame: str
    phases: dict[str, float]
    rate_hz: float
    encoding: str = ""
    fixed: str = "odom"
    tf_hz: float = 50.0
    static: bool = True
    empty_headers: bool = False
    moving: bool = True

    @property
    def frames(self) -> int:
        """Of each camera: a second and a half, or five."""
        return max(5, round(1.5 * self.rate_hz))


STYLES = {
    "town": Style(
        "/camera/{camera}/image/compressed", "/camera/{camera}/camera_info", "{camera}_optical",
        dict.fromkeys(("front", "left", "right"), 0.0), 10.0,
    ),
    "pandaset": Style(
        "/camera/{camera}/image/compressed", "/camera/{camera}/camera_info", "camera_{camera}_optical",
        PANDASET_PHASES, 10.0,
    ),
    "nuscenes2bag": Style(
        "/cam_{camera}/raw", "", "cam_{camera}", NUSCENES_PHASES, 12.0, "bgr8", tf_hz=100.0, static=False
    ),
    # Without stamps an image has no place on a way that changes, so this vehicle stands.
    "nuscenes2bag_ros2": Style(
        "/cam_{camera}/raw", "", "cam_{camera}", NUSCENES_PHASES, 12.0, "bgr8", tf_hz=100.0, static=False,
        empty_headers=True, moving=False,
    ),
    "nuscenes_to_ros2bag": Style(
        "/CAM_{CAMERA}/image_rect_compressed", "/CAM_{CAMERA}/camera_info", "CAM_{CAMERA}", NUSCENES_PHASES, 2.0,
        fixed="map", tf_hz=2.0, static=False,
    ),
    "dataset_bridge": Style(
        "/nuscenes/CAM_{CAMERA}/image", "/nuscenes/CAM_{CAMERA}/camera_info", "CAM_{CAMERA}",
        {name: 0.006 * number for number, name in enumerate(NUSCENES_PHASES)}, 4.0, "8UC3", tf_hz=20.0, static=False,
    ),
}  # fmt: skip


def base_from_camera(name: str) -> NDArray[np.float64]:
    """Where a camera is mounted."""
    return pose_from_rpy((0.5, 0.3 * np.sign(YAWS[name]), 1.5), 0.0, 0.0, YAWS[name]) @ body_from_optical()


def calibrations() -> dict[str, Any]:
    """The content of a calibration file with the intrinsics of all cameras."""
    k = [float(v) for v in CAMERA.matrix.ravel()]
    return {"cameras": {name: {"intrinsics": {"width": SIZE[0], "height": SIZE[1], "k": k}} for name in YAWS}}


def write_preset_drive(path: Path, preset: str) -> Path:
    """Write a short recording as this preset's project would."""
    style = STYLES[preset]
    rows = sorted([*_transforms(style), *_images(style)], key=lambda row: row[0])
    with BagWriter(path) as bag:
        for topic, kind in {(topic, message.__msgtype__) for _, topic, message in rows}:
            bag.add_topic(topic, kind)
        for receive_ns, topic, message in rows:
            bag.write(topic, receive_ns, message)
    return path


def _name(pattern: str, camera: str) -> str:
    return pattern.format(camera=camera, CAMERA=camera.upper())


def _transforms(style: Style) -> Iterator[tuple[int, str, Any]]:
    mounts = {_name(style.frame, name): base_from_camera(name) for name in style.phases}
    if style.static:
        edges = [("base_link", frame, START_NS, mount) for frame, mount in mounts.items()]
        yield START_NS - 300_000_000, "/tf_static", messages.tf_message(edges)
    for number in range(-1 - round(0.2 * style.tf_hz), round((style.frames / style.rate_hz + 0.3) * style.tf_hz) + 1):
        now = START_NS + round(number / style.tf_hz * 1e9)
        t = (now - START_NS) * 1e-9 if style.moving else 0.0
        way = pose_from_rpy((5.0 * t, 0.3 * t * t, 0.0), 0.0, 0.0, 0.12 * t)
        edges = [(style.fixed, "base_link", now, way)]
        if not style.static:
            edges += [("base_link", frame, now, mount) for frame, mount in mounts.items()]
        # Where poses are rare they are written together with those of the next keyframe.
        ahead = 1e9 / style.tf_hz if style.tf_hz < 5.0 else 0.0
        yield now + 2_000_000 - round(ahead), "/tf", messages.tf_message(edges)


def _images(style: Style) -> Iterator[tuple[int, str, Any]]:
    for number in range(style.frames):
        for place, (camera, phase) in enumerate(style.phases.items()):
            now = START_NS + round((number / style.rate_hz + phase) * 1e9)
            stamp, frame = (0, "") if style.empty_headers else (now, _name(style.frame, camera))
            pixels = np.random.default_rng(100 * number + place).integers(0, 255, (4, 6, 3), np.uint8)
            pixels = np.asarray(cv2.resize(pixels, SIZE), np.uint8)
            if style.info:
                info = messages.camera_info(stamp, frame, CAMERA)
                yield now + 5_000_000, _name(style.info, camera), info
            if style.encoding:
                image = messages.image(stamp, frame, pixels, style.encoding)
            else:
                image = messages.compressed_image(stamp, frame, bytes(cv2.imencode(".jpg", pixels)[1]))
            yield now + 8_000_000, _name(style.image, camera), image
