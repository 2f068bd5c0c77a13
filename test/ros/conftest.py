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
from selfocc_ros.logs import messages
from selfocc_ros.logs.writer import BagWriter

# Two cores, several processes: one thread each is fastest.
os.environ.setdefault("OMP_NUM_THREADS", "1")

START_NS = 1_700_000_000_000_000_000
FAKE_NODE = Path(__file__).with_name("fake_node.py")
CAMERA = CameraModel(64, 48, np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]]))
YAWS = {"front": 0.0, "left": 1.5, "right": -1.5}

Change = Callable[[str, int, Any], Any]


def picture(seed: int) -> bytes:
    """A JPEG of 64 x 48 that differs from seed to seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.resize(pixels, (64, 48)))[1])


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
) -> Path:  # fmt: skip
    """A drive of three cameras with offsets of 5 ms, /tf at 50 Hz, /tf_static, odometry-like motion.

    Args:
        change: gets (topic, number of the frame, message) of all camera messages; what it returns is written in its
            place, None leaves it out.
        cameras: yaw by name.
        static: cameras in /tf_static; None is all.
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
            info = messages.camera_info(stamp, frame_id, CAMERA)
            image = messages.compressed_image(stamp, frame_id, picture(100 * k + number))
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
