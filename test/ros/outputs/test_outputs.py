# SPDX-License-Identifier: Apache-2.0
"""What the node publishes and when: over DDS, in this process, without a network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rclpy
from nav_msgs.msg import OccupancyGrid
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from visualization_msgs.msg import Marker

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import pose_from_rpy
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.geometry.voxels import FREE, OCCUPIED, OccupancyVolume, VoxelGrid
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros import qos
from selfocc_ros.ros.domain import own_domain
from selfocc_ros.ros.outputs import Outputs
from selfocc_ros.ros.outputs.depth import topic_name
from selfocc_ros.sensing.frames import CameraFrame, RigSample

GRID = VoxelGrid((-4.0, -4.0, -1.0), (4.0, 4.0, 2.2), (20, 20, 8))
CAMERA = CameraModel(64, 48, np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]]))
MS = 1_000_000


def volume(*occupied: tuple[int, int, int], classes: bool = False) -> OccupancyVolume:
    """A volume with a road and some things."""
    state = np.full(GRID.shape, FREE, np.uint8)
    state[:, :, :3] = OCCUPIED
    for index in occupied:
        state[index] = OCCUPIED
    labels = np.where(state == OCCUPIED, 1, 0).astype(np.uint8) if classes else None
    return OccupancyVolume(GRID, state, None, labels, ("road", "car") if classes else ())


class Predictor:
    """Stands for the network: decides by height alone, and sees a wall 7 m ahead."""

    def __init__(self) -> None:
        self.limits: list[float] = []
        self.rendered: list[tuple[int, int]] = []
        self.fails = False

    def predict(self, sample: RigSample) -> Any:
        raise NotImplementedError

    def describe(self) -> str:
        return "a stand-in"

    def decide(self, prediction: Any, occupied_below: float) -> OccupancyVolume:
        self.limits.append(occupied_below)
        return volume((1, 1, 5))

    def render_depth(
        self, prediction: Any, camera: CameraModel, pose: Any, stride: int = 1, least_opacity: float = 0.0
    ) -> Any:
        if self.fails:
            raise RuntimeError("out of memory")
        self.rendered.append((camera.width, camera.height))
        depth = np.full((camera.height, camera.width), 7.0, np.float32)
        depth[0] = np.nan
        return depth


@dataclass
class Bench:
    """Outputs on one node, an eye on another, and what it has seen."""

    node: Node
    eye: Node
    executor: SingleThreadedExecutor
    outputs: Outputs
    predictor: Predictor
    tree: TransformTree
    told: list[str]
    parameters: list[NodeParameters]
    subscriptions: list[Any] = field(default_factory=list)

    def set(self, **values: Any) -> None:
        self.parameters[0] = NodeParameters.of({name.replace("__", "."): value for name, value in values.items()})

    def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 30.0
        while not condition():
            assert time.monotonic() < deadline, "nothing happened"
            self.executor.spin_once(timeout_sec=0.02)

    def hear(self, kind: Any, name: str, *, latched: bool = False) -> list[Any]:
        """A list that fills with messages, once the publisher knows of the subscription."""
        heard: list[Any] = []
        topic = f"/{self.node.get_name()}/{name}"
        before = self._count(topic)
        self.subscriptions.append(
            self.eye.create_subscription(kind, topic, heard.append, qos.profile(5, latched=latched))
        )
        self.until(lambda: self._count(topic) > before)
        return heard

    def _count(self, topic: str) -> int:
        return sum(p.get_subscription_count() for p in list(self.node.publishers) if p.topic_name == topic)

    def publish(self, stamp_ns: int = 0, found: OccupancyVolume | None = None) -> dict[str, float]:
        frame = CameraFrame("front-1", stamp_ns + 3 * MS, "front_optical", "jpeg", b"")
        sample = RigSample(stamp_ns, CameraRig(("front-1",), (CAMERA,), np.eye(4)[None]), (frame,))
        prediction = SimpleNamespace(stamp_ns=stamp_ns, volume=found or volume((3, 4, 5)), scene=None)
        return self.outputs.publish(prediction, sample)


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Any, Node, SingleThreadedExecutor]]:
    with own_domain() as domain:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=domain)
        eye = Node("eye", context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(eye)
        yield context, eye, executor
        eye.destroy_node()
        context.shutdown()


NUMBER = iter(range(1000))


@pytest.fixture
def bench(nodes: tuple[Any, Node, SingleThreadedExecutor]) -> Iterator[Bench]:
    context, eye, executor = nodes
    # A name of its own: what one test has latched must not reach the next.
    node = Node(f"selfocc_{next(NUMBER)}", context=context)
    executor.add_node(node)
    parameters, predictor, tree, told = [NodeParameters()], Predictor(), TransformTree(), []
    outputs = Outputs(node, lambda: parameters[0], tree, lambda _key, text: told.append(text), lambda: predictor)  # type: ignore[arg-type]
    bench = Bench(node, eye, executor, outputs, predictor, tree, told, parameters)
    yield bench
    for subscription in bench.subscriptions:
        eye.destroy_subscription(subscription)
    outputs.close()
    executor.remove_node(node)
    node.destroy_node()


KINDS = {
    "occupancy_grid": OccupancyGrid,
    "occupied_points": PointCloud2,
    "sdf_slice": OccupancyGrid,
    "sdf_slice_points": PointCloud2,
    "voxel_markers": Marker,
    "semantic_grid": OccupancyGrid,
    "free_points": PointCloud2,
    "local_map": OccupancyGrid,
    "local_map_points": PointCloud2,
}


def test_nothing_is_computed_for_nobody(bench: Bench):
    assert bench.publish() == {}
    assert bench.told == []


def test_all_outputs_come_with_their_stamp_and_frame_and_only_those_are_computed(bench: Bench):
    bench.set(fusion__enabled=True)
    bench.tree.set("odom", "base_link", 5 * MS, pose_from_rpy([1.0, 2.0, 0.5], 0.0, 0.0, 0.3))
    heard: dict[str, list[Any]] = {}
    for name, kind in KINDS.items():
        heard[name] = bench.hear(kind, name)
        took = bench.publish(5 * MS, volume((3, 4, 5), classes=True))
        assert set(took) == set(heard)
        assert all(0.0 < seconds < 10.0 for seconds in took.values())
    bench.until(lambda: all(heard.values()))
    for name, messages in heard.items():
        header = messages[0].header
        assert header.stamp.nanosec == 5 * MS
        assert header.frame_id == ("odom" if name.startswith("local_map") else "base_link")
    assert bench.told == []


@pytest.mark.parametrize("name", KINDS)
def test_each_output_has_a_switch(bench: Bench, name: str):
    switch = {"sdf_slice_points": "sdf_slice", "local_map_points": "local_map"}.get(name, name)
    bench.tree.set("odom", "base_link", 0, np.eye(4))
    bench.hear(KINDS[name], name)
    bench.set(fusion__enabled=True, **{f"publish__{switch}": False})
    assert bench.publish() == {}
    bench.set(fusion__enabled=True)
    assert set(bench.publish()) == {name}


def test_a_latched_output_reaches_who_comes_late_even_if_nobody_was_there(bench: Bench):
    bench.publish(7 * MS)
    grids = bench.hear(OccupancyGrid, "occupancy_grid", latched=True)
    bench.until(lambda: grids)
    assert grids[0].header.stamp.nanosec == 7 * MS
    for _ in range(50):  # and once only
        bench.executor.spin_once(timeout_sec=0.02)
    assert len(grids) == 1


def test_who_comes_after_a_pause_gets_the_newest_and_not_what_was_sent_last(bench: Bench):
    first = bench.hear(OccupancyGrid, "occupancy_grid", latched=True)
    bench.publish(7 * MS)
    bench.until(lambda: first)
    bench.eye.destroy_subscription(bench.subscriptions.pop())
    bench.until(lambda: bench.publish(8 * MS) == {})
    later = bench.hear(OccupancyGrid, "occupancy_grid", latched=True)
    bench.until(lambda: later and later[-1].header.stamp.nanosec == 8 * MS)


def test_what_was_before_a_jump_in_time_is_not_served_any_more(bench: Bench):
    bench.publish(7 * MS)
    bench.outputs.forget()
    grids = bench.hear(OccupancyGrid, "occupancy_grid", latched=True)
    for _ in range(50):
        bench.executor.spin_once(timeout_sec=0.02)
    assert grids == []


def test_parameters_count_from_the_next_set_on(bench: Bench):
    grids = bench.hear(OccupancyGrid, "occupancy_grid")
    points = bench.hear(PointCloud2, "occupied_points")
    bench.publish(found=volume((3, 4, 5)))
    bench.set(height_band=(1.2, 2.0), surface_only=False)
    bench.publish(found=volume((3, 4, 5)))  # 1 to 1.4 m
    bench.set(height_band=(1.6, 2.0))
    bench.publish(found=volume((3, 4, 5)))
    bench.until(lambda: len(grids) == len(points) == 3)
    assert [sorted(set(grid.data)) for grid in grids] == [[0, 100], [0, 100], [0]]
    # Of a road of three layers, down to the bottom of the grid, the uppermost is the surface.
    assert [cloud.width for cloud in points] == [401, 1201, 401]


def test_occupied_below_is_asked_of_the_predictor_and_holds_for_all_outputs(bench: Bench):
    grids = bench.hear(OccupancyGrid, "occupancy_grid")
    points = bench.hear(PointCloud2, "occupied_points")
    bench.publish()
    bench.set(occupied_below=0.2, surface_only=False)
    bench.publish()
    bench.until(lambda: len(grids) == len(points) == 2)
    assert bench.predictor.limits == [0.2]
    assert [list(grid.data).index(100) for grid in grids] == [4 * 20 + 3, 1 * 20 + 1]


def test_depth_is_rendered_for_the_camera_that_is_subscribed_to(bench: Bench):
    bench.set(depth_stride=8)
    assert bench.publish() == {}
    images = bench.hear(Image, "depth/front_1")
    infos = bench.hear(CameraInfo, "depth/front_1/camera_info")
    assert set(bench.publish(2 * MS)) == {"depth/front-1"}
    bench.until(lambda: images and infos)
    image, info = images[0], infos[0]
    # Those of the image, not of the set.
    assert image.header.stamp.nanosec == info.header.stamp.nanosec == 5 * MS
    assert image.header.frame_id == info.header.frame_id == "front_optical"
    assert (image.width, image.height, image.encoding, image.step) == (8, 6, "32FC1", 32)
    depth = np.frombuffer(image.data, "<f4").reshape(6, 8)
    assert np.isnan(depth[0]).all()
    assert (depth[1:] == 7.0).all()
    assert (info.width, info.height) == (8, 6)
    np.testing.assert_allclose(info.k, [50 / 8, 0, 31.5 / 8, 0, 50 / 8, 23.5 / 8, 0, 0, 1])
    assert bench.predictor.rendered == [(8, 6)]
    bench.set(publish__depth=False)
    assert bench.publish() == {}


@pytest.mark.parametrize(("camera", "name"), [("front", "front"), ("cam-1/left", "cam_1_left"), ("2nd", "_2nd")])
def test_any_camera_has_a_topic_that_ros_takes(camera: str, name: str):
    assert topic_name(camera) == name


@pytest.mark.fault
def test_an_output_that_fails_costs_itself_and_is_told_of(bench: Bench):
    bench.publish()  # makes the depth topics
    bench.hear(Image, "depth/front_1")
    bench.hear(OccupancyGrid, "sdf_slice")
    grids = bench.hear(OccupancyGrid, "occupancy_grid")
    bench.set(sdf_slice_height=50.0)
    bench.predictor.fails = True
    bench.publish()
    bench.until(lambda: grids)
    height, depth = bench.told
    assert height.startswith("~/sdf_slice is not published: sdf_slice_height 50 m lies outside the voxels, which reach")
    assert depth == "~/depth/front-1 is not published: RuntimeError: out of memory"


@pytest.mark.fault
def test_without_a_transform_there_is_no_local_map_and_that_is_told(bench: Bench):
    bench.set(fusion__enabled=True)
    bench.hear(OccupancyGrid, "local_map")
    points = bench.hear(PointCloud2, "occupied_points")
    bench.publish()
    bench.until(lambda: points)
    assert len(bench.told) == 1
    assert bench.told[0].startswith("~/local_map is not published: frame 'odom' is unknown")


def test_the_local_map_remembers_in_the_fixed_frame(bench: Bench):
    bench.set(fusion__enabled=True, fusion__size=20.0)
    maps = bench.hear(OccupancyGrid, "local_map")
    thing = (3, 4, 5)  # at x -2.6, y -2.2 in base_link
    for k, (x, things) in enumerate(((0.0, [thing]), (2.0, []), (4.0, []))):
        # Somewhere, and uphill of where odometry began.
        bench.tree.set("odom", "base_link", k * 100 * MS, pose_from_rpy([50.0 + x, 20.0, 7.2], 0.0, 0.0, 0.0))
        bench.publish(k * 100 * MS, volume(*things))
    bench.until(lambda: len(maps) == 3)
    for k, found in enumerate(maps):
        assert found.header.frame_id == "odom"
        assert (found.info.width, found.info.height) == (50, 50)
        assert found.info.resolution == pytest.approx(0.4)
        origin = found.info.origin.position
        assert origin.x == pytest.approx(2.0 * k + 40.0, abs=0.21)
        assert origin.z == pytest.approx(7.2)
        column, row = int((47.4 - origin.x) / 0.4), int((17.8 - origin.y) / 0.4)
        data = np.array(found.data).reshape(50, 50)
        assert data[row, column] == 100  # also when the vehicle has left it behind
        assert (data == 100).sum() == 1
        assert (data == -1).any()
        assert (data == 0).any()
    bench.outputs.forget()
    bench.tree.set("odom", "base_link", 300 * MS, np.eye(4))
    bench.publish(300 * MS, volume())
    bench.until(lambda: len(maps) == 4)
    assert 100 not in maps[3].data


def test_saving(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(SelfOccError, match="nothing has been predicted yet"):
        bench.outputs.save(str(tmp_path))
    bench.publish(9 * MS)
    sentence = bench.outputs.save(str(tmp_path))
    assert sentence == f"saved {tmp_path}/occupancy_9000000.ply and {tmp_path}/occupancy_9000000.npz"
    with np.load(tmp_path / "occupancy_9000000.npz") as arrays:
        np.testing.assert_array_equal(arrays["state"], volume((3, 4, 5)).state)
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "home"))
    bench.outputs.save("")
    assert (tmp_path / "home" / "selfocc" / "occupancy_9000000.ply").is_file()


def test_closed_outputs_publish_nothing_and_leave_nothing(bench: Bench):
    bench.publish()
    before = len(list(bench.node.publishers))
    bench.outputs.close()
    assert bench.publish() == {}
    assert len(list(bench.node.publishers)) <= before - len(KINDS) - 2
