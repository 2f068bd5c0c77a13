# SPDX-License-Identifier: Apache-2.0
"""Small recordings, and the node with a small predictor: what the tests over DDS share."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import BODY_FROM_OPTICAL, pose_from_rpy
from selfocc_ros.geometry.voxels import OCCUPIED
from selfocc_ros.logs import messages
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.samples import iterate_samples
from selfocc_ros.logs.writer import BagWriter

# Two cores, several processes: one thread each is fastest.
os.environ.setdefault("OMP_NUM_THREADS", "1")

START_NS = 1_700_000_000_000_000_000
FAKE_NODE = Path(__file__).with_name("fake_node.py")
CAMERA = CameraModel(64, 48, np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]]))
YAWS = {"front": 0.0, "left": 1.5, "right": -1.5}

Change = Callable[[str, int, Any], Any]


def picture(seed: int, scale: int) -> bytes:
    """A JPEG of 64 x 48 times `scale` that differs from seed to seed; scaled ones are noise and so of many bytes."""
    height, width = (6, 8) if scale == 1 else (48 * scale, 64 * scale)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.resize(pixels, (64 * scale, 48 * scale)))[1])


def base_from_camera(yaw: float) -> np.ndarray:
    body = pose_from_rpy([0.5, 0.3 * yaw, 1.5], 0.0, 0.0, yaw)
    optical = np.eye(4)
    optical[:3, :3] = BODY_FROM_OPTICAL
    return body @ optical


def odom_from_base(t_s: float) -> np.ndarray:
    """A drive with a curve, 5 m/s."""
    return pose_from_rpy([5.0 * t_s, 0.3 * t_s * t_s, 0.0], 0.0, 0.0, 0.12 * t_s)


def write_bag(
    path: Path, seconds: float = 3.0, rate_hz: float = 5.0, change: Change | None = None,
    cameras: Mapping[str, float] = YAWS, static: tuple[str, ...] | None = None,
    scale: int = 1,
) -> Path:  # fmt: skip
    """A drive of three cameras with offsets of 5 ms, /tf at 50 Hz, /tf_static, odometry-like motion.

    Args:
        change: gets (topic, number of the frame, message) of all camera messages; what it returns is written in its
            place, None leaves it out.
        cameras: yaw by name.
        static: cameras in /tf_static; None is all.
        scale: size of the images in units of 64 x 48.
    """
    rows: list[tuple[int, str, Any]] = []
    edges = [
        ("base_link", f"{name}_optical", START_NS, base_from_camera(yaw))
        for name, yaw in cameras.items()
        if static is None or name in static
    ]
    rows.append((START_NS - 10_000_000, "/tf_static", messages.tf_message(edges)))
    for k in range(-1, round(seconds * 50) + 10):
        stamp = START_NS + k * 20_000_000
        edge = ("odom", "base_link", stamp, odom_from_base(k * 0.02))
        rows.append((stamp + 2_000_000, "/tf", messages.tf_message([edge])))
    for k in range(round(seconds * rate_hz)):
        for number, name in enumerate(cameras):
            stamp = START_NS + round(k / rate_hz * 1e9) + number * 5_000_000
            frame_id = f"{name}_optical"
            info = messages.camera_info(stamp, frame_id, CAMERA.resized(64 * scale, 48 * scale))
            image = messages.compressed_image(stamp, frame_id, picture(100 * k + number, scale))
            for delay, topic, message in (
                (5_000_000, f"/camera/{name}/camera_info", info),
                (8_000_000, f"/camera/{name}/image/compressed", image),
            ):
                changed = message if change is None else change(topic, k, message)
                if changed is not None:
                    rows.append((stamp + delay, topic, changed))
    with BagWriter(path, replace=True) as bag:
        for topic, kind in {(topic, message.__msgtype__) for _, topic, message in rows}:
            bag.add_topic(topic, kind)
        for receive_ns, topic, message in sorted(rows, key=lambda row: row[:2]):
            bag.write(topic, receive_ns, message)
    return path


@pytest.fixture(scope="session")
def make_bag() -> Callable[..., Path]:
    return write_bag


@pytest.fixture(scope="session")
def fake_command() -> list[str]:
    """Starts the node with the fake predictor."""
    return [sys.executable, "-u", str(FAKE_NODE)]


@pytest.fixture(scope="session")
def fake_predictor() -> Any:
    """The fake predictor's class, for the same computation without ROS."""
    spec = importlib.util.spec_from_file_location("fake_node", FAKE_NODE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FakePredictor


@pytest.fixture(scope="session")
def assert_live_equals_offline() -> Callable[..., None]:
    """Compares every recorded message with what the recording gives without ROS."""

    def compare(bag: Path, output: Path, predictor: Any, at_most: float = 0.0, **options: Any) -> None:
        clouds = recorded(output, "/selfocc/occupied_points")
        offline = {sample.stamp_ns: sample for sample in iterate_samples(bag, **options)}
        assert clouds, "nothing was published"
        for cloud in clouds:
            stamp_ns = cloud.header.stamp.sec * 10**9 + cloud.header.stamp.nanosec
            volume = predictor.predict(offline[stamp_ns]).volume
            points = np.frombuffer(cloud.data, "<f4").reshape(-1, 4)[:, :3]
            index, inside = volume.grid.index_of(points)
            assert inside.all()
            live = np.zeros(volume.grid.shape, bool)
            live[tuple(index.T)] = True
            differ = np.count_nonzero(live != (volume.state == OCCUPIED)) / live.size
            assert differ <= at_most, f"{differ:.2%} of the voxels differ at {stamp_ns}"

    return compare


def recorded(path: Path, topic: str) -> list[Any]:
    with Bag(path) as bag:
        return [message.msg for message in bag.messages([topic])]


@pytest.fixture(scope="session")
def read_topic() -> Callable[[Path, str], list[Any]]:
    """All messages of a topic of a recording."""
    return recorded
