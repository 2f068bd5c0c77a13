# SPDX-License-Identifier: Apache-2.0
"""Motion between the cameras: on a curve at 15 m/s, with cameras 50 ms apart, a wall stands where it stands.

The recording is computed: one plane, depth images that are exact for each camera at its own stamp, odometry on an arc.
An oracle back-projects the depth through the sample's poses, once through the samples of the offline path and once in
the real node over DDS. Taken as if all cameras had looked at the reference stamp, the same data miss the wall.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import BODY_FROM_OPTICAL, apply, pose_from_rpy
from selfocc_ros.logs import messages
from selfocc_ros.logs.samples import iterate_samples
from selfocc_ros.logs.writer import BagWriter
from selfocc_ros.ros.session import play_through_node

ORACLE_NODE = Path(__file__).with_name("oracle_node.py")
START_NS = 1_700_000_000_000_000_000
SPEED, YAW_RATE = 15.0, 0.3  # m/s and rad/s: a curve of 50 m radius
RATE_HZ, SETS = 5.0, 8
OFFSETS_S = {"front": 0.0, "left": 0.05, "right": -0.05}
YAWS = {"front": 0.0, "left": 0.6, "right": -0.6}
CAMERA = CameraModel(96, 72, np.array([[48.0, 0, 47.5], [0, 48.0, 35.5], [0, 0, 1]]))  # 90 degrees wide
NORMAL, DISTANCE = np.array([np.cos(0.25), np.sin(0.25), 0.0]), 46.0  # the wall: NORMAL . p = DISTANCE in odom
VOXEL = 0.4


def odom_from_base(t_s: float) -> np.ndarray:
    yaw = YAW_RATE * t_s
    radius = SPEED / YAW_RATE
    return pose_from_rpy([radius * np.sin(yaw), radius * (1 - np.cos(yaw)), 0.0], 0.0, 0.0, yaw)


def base_from_camera(name: str) -> np.ndarray:
    optical = np.eye(4)
    optical[:3, :3] = BODY_FROM_OPTICAL
    return pose_from_rpy([1.5, 0.5 * YAWS[name], 1.5], 0.0, 0.0, YAWS[name]) @ optical


def depth_image(name: str, t_s: float) -> bytes:
    """What camera `name` measures at `t_s`: a PNG of 16 bits, millimetres along the optical axis."""
    pose = odom_from_base(t_s) @ base_from_camera(name)
    rays = CAMERA.pixel_rays()
    closing = rays @ pose[:3, :3].T @ NORMAL
    distance = np.where(closing > 1e-3, (DISTANCE - NORMAL @ pose[:3, 3]) / np.maximum(closing, 1e-3), 0.0)
    depth = np.round(distance * rays[..., 2] * 1e3)
    return bytes(cv2.imencode(".png", np.where(depth < 65_000, depth, 0).astype(np.uint16))[1])


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording; odometry at 50 Hz, so that no image has a transform of its own stamp."""
    mounts = [("base_link", f"{name}_optical", START_NS, base_from_camera(name)) for name in YAWS]
    rows: list[tuple[int, str, Any]] = [(START_NS - 500_000_000, "/tf_static", messages.tf_message(mounts))]
    for k in range(-15, round(SETS / RATE_HZ * 50) + 15):
        stamp = START_NS + k * 20_000_000 + 7_000_000
        edge = ("odom", "base_link", stamp, odom_from_base((stamp - START_NS) * 1e-9))
        rows.append((stamp + 2_000_000, "/tf", messages.tf_message([edge])))
    for k in range(SETS):
        for name, offset_s in OFFSETS_S.items():
            t_s = k / RATE_HZ + offset_s
            stamp, frame = START_NS + round(t_s * 1e9), f"{name}_optical"
            info = messages.camera_info(stamp, frame, CAMERA)
            image = messages.compressed_image(stamp, frame, depth_image(name, t_s), "png")
            rows.append((stamp + 5_000_000, f"/camera/{name}/camera_info", info))
            rows.append((stamp + 8_000_000, f"/camera/{name}/image/compressed", image))
    path = tmp_path_factory.mktemp("oracle") / "drive"
    with BagWriter(path) as bag:
        for topic, kind in {(topic, message.__msgtype__) for _, topic, message in rows}:
            bag.add_topic(topic, kind)
        for receive_ns, topic, message in sorted(rows, key=lambda row: row[:2]):
            bag.write(topic, receive_ns, message)
    return path


def off_the_wall(points: np.ndarray, stamp_ns: int) -> np.ndarray:
    """Metres from the wall of points (M,3) in base_link at the stamp."""
    return np.asarray(np.abs(apply(odom_from_base((stamp_ns - START_NS) * 1e-9), points) @ NORMAL - DISTANCE))


def check_hit(points: np.ndarray, stamp_ns: int) -> None:
    assert len(points) > 300
    assert off_the_wall(points, stamp_ns).max() <= VOXEL


def check_miss(points: np.ndarray, stamp_ns: int) -> None:
    """The front camera hits, it is the reference; the other two are off by some 0.7 m."""
    off = off_the_wall(points, stamp_ns)
    assert np.mean(off > VOXEL) > 0.4
    assert off.max() > 2 * VOXEL


# The frame through which motion is accounted for, and what that does; seen from itself the base never moves.
@pytest.mark.parametrize(
    ("fixed_frame", "check"), [("odom", check_hit), ("base_link", check_miss)], ids=["compensated", "as_if_at_once"]
)
def test_a_wall_in_the_samples_of_a_recording(drive: Path, fixed_frame: str, check: Callable[[np.ndarray, int], None]):
    spec = importlib.util.spec_from_file_location("oracle_node", ORACLE_NODE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    oracle = module.OraclePredictor()
    samples = [sample for sample in iterate_samples(drive, fixed_frame=fixed_frame) if len(sample.frames) == 3]
    assert len(samples) >= SETS - 1  # while no rate is known yet, the first set may lack a camera
    for sample in samples:
        assert sorted(f.stamp_ns - sample.stamp_ns for f in sample.frames) == [-50_000_000, 0, 50_000_000]
        check(oracle.predict(sample).volume.occupied_centres(), sample.stamp_ns)


def test_a_wall_in_what_the_node_publishes(drive: Path, read_topic: Any, tmp_path: Path):
    result = play_through_node(
        drive, tmp_path, node_command=[sys.executable, "-u", str(ORACLE_NODE)], extra_params={"tf_wait": 2.0}
    )
    assert result.node_exit == 0
    clouds = read_topic(result.output_bag, "/selfocc/occupied_points")
    assert len(clouds) >= SETS // 2
    for cloud in clouds:
        stamp_ns = cloud.header.stamp.sec * 10**9 + cloud.header.stamp.nanosec
        assert cloud.header.frame_id == "base_link"
        points = np.frombuffer(cloud.data, "<f4").reshape(cloud.width, -1)[:, :3]
        check_hit(points.astype(np.float64), stamp_ns)
