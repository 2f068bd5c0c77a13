# SPDX-License-Identifier: Apache-2.0
"""Protocol `lidar`: sweeps as depth maps and as voxels, and a recording that holds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import pose_from_rpy
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.logs.messages import POINT_CLOUD, point_cloud
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.writer import BagWriter
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.evaluation.classes import ProtocolError
from selfocc_training.evaluation.clouds import Clouds, Sweep
from selfocc_training.evaluation.lidar import FREE_LABEL, OCCUPIED_LABEL, in_view, swept_depth, swept_voxels
from selfocc_training.evaluation.run import evaluate
from selfocc_training.evaluation.scorer import Settings

GRID = VoxelGrid((0.0, -2.0, -2.0), (10.0, 2.0, 2.0), (20, 8, 8))
OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
HEIGHT_M = 1.8
TYPES = get_typestore(Stores.ROS2_HUMBLE).types


def sweep(*points: tuple[float, float, float]) -> Sweep:
    return Sweep(0, np.zeros(3), np.array(points, np.float64).reshape(-1, 3))


def cloud(stamp_ns: int, frame_id: str, points: NDArray[np.float32]) -> Any:
    fields = np.dtype([(axis, "<f4") for axis in "xyz"])
    return point_cloud(stamp_ns, frame_id, np.ascontiguousarray(points, "<f4").view(fields).reshape(-1), dense=True)


def test_rays_are_free_up_to_their_hit() -> None:
    labels = swept_voxels(sweep((6.3, 0.1, 0.1)), np.eye(4), GRID)
    row = labels[:, 4, 4]
    assert row[12] == OCCUPIED_LABEL
    assert (row[4:12] == FREE_LABEL).all()
    # Nothing is known behind the hit, beside the ray, and next to the sensor.
    assert (row[13:] == 255).all()
    assert (row[:3] == 255).all()
    assert (labels[:, :4] == 255).all()
    assert (swept_voxels(sweep((1.0, 0.1, 0.1)), np.eye(4), GRID) == 255).all()
    assert (swept_voxels(sweep(), np.eye(4), GRID) == 255).all()
    moved = swept_voxels(sweep((6.3, 0.1, 0.1)), pose_from_rpy((1.0, 0.0, 0.0), 0.0, 0.0, 0.0), GRID)
    assert moved[14, 4, 4] == OCCUPIED_LABEL


def test_a_camera_sees_the_nearest_point_and_none_behind_it() -> None:
    camera = CameraModel(96, 54, np.array([[50.0, 0, 48], [0, 50.0, 27], [0, 0, 1]]))
    points = [(0.0, 0.0, 5.0), (0.0, 0.0, 7.0), (0.15, 0.0, 12.0), (2.0, 0.0, 12.0), (0.0, 0.0, -3.0), (90.0, 0.0, 9.0)]
    depth = swept_depth(sweep(*points), camera, np.eye(4))
    assert depth[27, 48] == 5.0
    assert depth[27, 56] == 12.0
    assert np.count_nonzero(depth) == 2  # the third lies next to a point less than half as far away


def test_voxels_in_view_are_those_before_a_camera() -> None:
    camera = CameraModel(96, 54, np.array([[50.0, 0, 48], [0, 50.0, 27], [0, 0, 1]]))
    seen = in_view(CameraRig(("front",), (camera,), OPTICAL[None]), GRID)
    assert seen[10, 4, 4]
    assert not seen[0, 0, 7]
    behind = in_view(CameraRig(("back",), (camera,), pose_from_rpy((0, 0, 0), 0, 0, np.pi)[None] @ OPTICAL), GRID)
    assert not behind.any()


@pytest.fixture(scope="module")
def swept_bag(tmp_path_factory: pytest.TempPathFactory, bare_root: Path) -> Path:
    """The dataset's recording once more, with 10 sweeps per second of the ground, 2 cm below z = 0, around a sensor."""
    from recorded_drives import START

    angles, ranges = np.meshgrid(np.linspace(0, 2 * np.pi, 180, endpoint=False), np.linspace(2.5, 7.0, 12))
    x, y = ranges * np.cos(angles), ranges * np.sin(angles)
    points = np.stack([x, y, np.full_like(x, -HEIGHT_M - 0.02)], axis=-1).reshape(-1, 3).astype(np.float32)
    out = tmp_path_factory.mktemp("swept") / "bag"
    with Bag(bare_root.parent / "drive") as bag, BagWriter(out) as written:
        written.add_topic("/points", POINT_CLOUD)
        for topic, receive_ns, msg in bag.messages():
            if topic not in written.topics:
                written.add_topic(topic, msg.__msgtype__)
            if topic == "/tf_static":
                mounted = TYPES["tf2_msgs/msg/TFMessage"](transforms=[*msg.transforms, _mounting(msg.transforms[0])])
                msg = mounted
            written.write(topic, receive_ns, msg)
        for k in range(30):
            stamp = START + round((k * 0.1 + 0.02) * 1e9)
            written.write("/points", stamp + 10_000_000, cloud(stamp, "lidar", points))
    return out


def _mounting(like: Any) -> Any:
    vector = TYPES["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=HEIGHT_M)
    rotation = TYPES["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)
    transform = TYPES["geometry_msgs/msg/Transform"](translation=vector, rotation=rotation)
    return TYPES["geometry_msgs/msg/TransformStamped"](header=like.header, child_frame_id="lidar", transform=transform)


def test_sweeps_are_read_in_any_order(swept_bag: Path) -> None:
    clouds = Clouds(swept_bag, "odom")
    stamps = clouds.stamps_ns.tolist()
    for place in (3, 9, 4, 4):
        found = clouds.sweep(stamps[place])
        assert found is not None
        assert found.stamp_ns == stamps[place]
        assert found.origin[2] == pytest.approx(HEIGHT_M)
        np.testing.assert_allclose(found.points[:, 2], -0.02, atol=1e-5)
    assert clouds.stamp_near(stamps[5] + 10_000_000) == stamps[5]
    assert clouds.stamp_near(stamps[-1] + 80_000_000) is None


def test_a_network_that_is_right_agrees_with_the_lidar(toy: Callable[..., Any], bare: Dataset, swept_bag: Path) -> None:
    asked = Settings("lidar", stride=1, samples=2, bags=(swept_bag,), blind=False)
    evaluation = evaluate(toy(bare, depth_factor=1.1), bare, asked)
    figures = evaluation.figures
    # Points count by the pixel that they lie in, so that depth at the very edge of one is off by up to half a pixel.
    assert figures["abs_rel"] == pytest.approx(0.1, abs=0.02)
    assert figures["abs_rel_flat_ground"] == pytest.approx(0.0, abs=0.03)
    assert figures["hits_occupied"] == 1.0
    # The toy's wall stands where this sensor looks through.
    assert 0.5 < figures["passed_free"] < 1.0
    assert figures["passed_free_flat_ground"] == 1.0
    assert figures["iou_flat_ground"] == 1.0
    assert any("/points" in note for note in evaluation.scorer.notes)


def test_fault_no_lidar(toy: Callable[..., Any], bare: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="holds no LiDAR"):
        evaluate(toy(bare), bare, Settings("lidar"))
    with pytest.raises(ProtocolError, match="--bag"):
        evaluate(toy(bare), bare, Settings("lidar", bags=(tmp_path / "gone",)))
