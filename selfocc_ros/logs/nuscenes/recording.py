# SPDX-License-Identifier: Apache-2.0
"""Writes one scene of nuScenes as a rosbag2 recording, as a vehicle with REP-105's frames would have recorded it.

Frames: map -> odom -> base_link -> sensors. nuScenes localises in a map, without odometry of its own: odom is the map
here, by an identity on /tf_static, so that what expects either frame works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from typing import Any

import numpy as np

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.logs import messages
from selfocc_ros.logs.nuscenes.clouds import cloud_message
from selfocc_ros.logs.nuscenes.scenes import Capture, Scene, Sensor
from selfocc_ros.logs.nuscenes.tables import NuScenesError
from selfocc_ros.logs.writer import BagWriter

MAP, ODOM, BASE = "map", "odom", "base_link"

_POSE, _CAPTURE = 0, 1  # of one stamp, the pose comes first: a node can use the image at once
_JPEG = b"\xff\xd8"


@dataclass(frozen=True)
class Written:
    """What a recording holds: messages of images, clouds and poses, and seconds from the first to the last."""

    images: int
    clouds: int
    poses: int
    duration_s: float


def sensor_name(channel: str) -> str:
    """`CAM_FRONT_LEFT` -> `front_left`, `LIDAR_TOP` -> `top`."""
    return channel.lower().partition("_")[2] or channel.lower()


def sensor_frame(sensor: Sensor) -> str:
    """Frame of a sensor's messages."""
    name = sensor_name(sensor.channel)
    return f"camera_{name}_optical" if sensor.modality == "camera" else f"{sensor.modality}_{name}"


def captures_of(scene: Scene, lidar: bool = True, keyframes_only: bool = False) -> list[Capture]:
    """The captures that a recording is to hold.

    Args:
        scene: of which.
        lidar: clouds, too.
        keyframes_only: no sweeps.
    """
    return [
        capture
        for capture in scene.captures
        if (lidar or capture.sensor.modality == "camera") and (capture.keyframe or not keyframes_only)
    ]


def require_files(scene: Scene, captures: Sequence[Capture], dataroot: Path) -> None:
    """See that all files of captures are there.

    Raises:
        NuScenesError: some are not; tells how many and the first.
    """
    missing = [capture.file for capture in captures if not (dataroot / capture.file).is_file()]
    if missing:
        raise NuScenesError(
            f"{scene.entry.name}: {len(missing)} of {len(captures)} files are missing below {dataroot}, the first is "
            f"{missing[0]}"
        )


def write_recording(
    scene: Scene,
    captures: Sequence[Capture],
    dataroot: Path,
    path: Path,
    tell: Callable[[int, int], None] | None = None,
) -> Written:
    """Write a recording; one that is already at `path` is replaced. It appears whole or not at all.

    Args:
        scene: for its poses, all of which are written.
        captures: images and clouds, in the order of their stamps.
        dataroot: where their files are.
        path: rosbag2 directory (MCAP) to make.
        tell: called with (captures done, captures in all).

    Raises:
        NuScenesError: files are damaged, or a sensor is mounted in two ways within the scene.
        BagError: the recording cannot be written.
    """
    sensors = _mounted(scene, captures)
    stamps = [*(capture.stamp_us for capture in captures), *scene.pose_stamps_us.tolist()]
    first, last = min(stamps), max(stamps)
    counts = {"camera": 0, "lidar": 0}
    with BagWriter(path, replace=True, whole=True) as bag:
        bag.add_topic("/tf_static", messages.TF, latched=True)
        bag.add_topic("/tf", messages.TF)
        for sensor in sensors:
            for topic, kind in _topics(sensor):
                bag.add_topic(topic, kind)
        bag.write("/tf_static", first * 1000, _static(sensors, first * 1000))
        poses = ((int(stamp), _POSE, index) for index, stamp in enumerate(scene.pose_stamps_us))
        images = ((capture.stamp_us, _CAPTURE, index) for index, capture in enumerate(captures))
        for stamp_us, what, index in merge(poses, images):
            stamp_ns = stamp_us * 1000
            if what == _POSE:
                edge = (ODOM, BASE, stamp_ns, scene.map_from_base[index])
                bag.write("/tf", stamp_ns, messages.tf_message([edge]))
                continue
            capture = captures[index]
            for topic, message in _messages(capture, dataroot):
                bag.write(topic, stamp_ns, message)
            counts[capture.sensor.modality] += 1
            if tell is not None:
                tell(index + 1, len(captures))
    return Written(counts["camera"], counts["lidar"], len(scene.pose_stamps_us), (last - first) * 1e-6)


def _mounted(scene: Scene, captures: Sequence[Capture]) -> list[Sensor]:
    """Every sensor once, by channel."""
    sensors: dict[str, Sensor] = {}
    for capture in captures:
        known = sensors.setdefault(capture.sensor.channel, capture.sensor)
        if known is not capture.sensor and not np.allclose(known.base_from_sensor, capture.sensor.base_from_sensor):
            raise NuScenesError(
                f"{scene.entry.name}: {known.channel} is mounted in two ways, but /tf_static knows one for all times"
            )
    return [sensors[channel] for channel in sorted(sensors)]


def _topics(sensor: Sensor) -> list[tuple[str, str]]:
    """Topics and types of a sensor, in the order of `_messages`."""
    base = f"/{sensor.modality}/{sensor_name(sensor.channel)}"
    if sensor.modality == "camera":
        return [
            (f"{base}/camera_info", messages.CAMERA_INFO),
            (f"{base}/image/compressed", messages.COMPRESSED_IMAGE),
        ]
    return [(f"{base}/points", messages.POINT_CLOUD)]


def _static(sensors: Sequence[Sensor], stamp_ns: int) -> Any:
    mountings = [(BASE, sensor_frame(sensor), stamp_ns, sensor.base_from_sensor) for sensor in sensors]
    return messages.tf_message([(MAP, ODOM, stamp_ns, np.eye(4)), *mountings])


def _messages(capture: Capture, dataroot: Path) -> Iterator[tuple[str, Any]]:
    """Topics and messages of a capture."""
    file = dataroot / capture.file
    try:
        data = file.read_bytes()
    except OSError as error:
        raise NuScenesError(f"{file} cannot be read ({error.strerror})") from error
    sensor, stamp_ns, frame_id = capture.sensor, capture.stamp_us * 1000, sensor_frame(capture.sensor)
    made: list[Any]
    if sensor.modality == "camera":
        if not data.startswith(_JPEG):
            raise NuScenesError(f"{file} is damaged: it is no JPEG image")
        camera = CameraModel(capture.width, capture.height, np.array(sensor.intrinsics))
        made = [
            messages.camera_info(stamp_ns, frame_id, camera),
            messages.compressed_image(stamp_ns, frame_id, data),
        ]
    else:
        made = [cloud_message(stamp_ns, frame_id, data, str(file))]
    yield from zip((topic for topic, _ in _topics(sensor)), made, strict=True)
