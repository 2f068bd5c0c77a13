# SPDX-License-Identifier: Apache-2.0
"""One node that stays up while others come and go: late joiners, parameters, a second clock, players, SIGTERM."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from live_node import LiveNode, live_node
from nav_msgs.msg import OccupancyGrid
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from selfocc_ros.ros import qos

START_NS = 1_700_000_000_000_000_000


@pytest.fixture(scope="module")
def bag(make_bag: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bag(tmp_path_factory.mktemp("living") / "bag", seconds=1.6)


@pytest.fixture(scope="module")
def living(bag: Path, fake_command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    folder = tmp_path_factory.mktemp("living")
    with live_node(folder, fake_command, "use_sim_time:=true", "tf_wait:=2.0") as out:
        assert out.play(bag, "--wait-for-node", "selfocc") == 0, out.processes.last_line("player")
        yield out


def test_who_comes_late_gets_the_last_grid(living: LiveNode):
    grids = living.hear(OccupancyGrid, "/selfocc/occupancy_grid", qos.profile(1, latched=True))
    living.until(lambda: grids, "the grid")
    # The drive is over: this is its last set.
    stamp = grids[0].header.stamp
    assert stamp.sec * 10**9 + stamp.nanosec == START_NS + 1_400_000_000
    assert len(grids[0].data) == grids[0].info.width * grids[0].info.height == 300


def test_diagnostics_tell_the_state_and_each_camera(living: LiveNode):
    heard = living.hear(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
    living.until(lambda: len(heard) >= 2, "two messages on /diagnostics")
    entries = {status.name: status for status in heard[-1].status}
    assert set(entries) == {"selfocc: state", *(f"selfocc: camera {name}" for name in ("front", "left", "right"))}
    state = {pair.key: pair.value for pair in entries["selfocc: state"].values}
    assert state["state"] in ("running", "ready")
    topics = [f"/camera/{name}/image/compressed" for name in ("front", "left", "right")]
    assert state["image_topics"].split(",") == topics
    assert int(state["published"]) == int(state["sets"]) - int(state["dropped"]) > 0
    front = {pair.key: pair.value for pair in entries["selfocc: camera front"].values}
    assert (front["images"], front["calibrated"]) == ("8", "True")
    assert float(front["age_s"]) > 0.0
    assert front["state"] == ("ok" if float(front["age_s"]) <= 2.0 else "stale")
    # The drive is over: after a while, nothing is heard of any camera, which a vehicle has to know.
    living.until(lambda: heard[-1].status[0].level == DiagnosticStatus.WARN, "a warning of the silence")
    assert "no camera has sent an image for " in heard[-1].status[0].message


def test_parameters_are_described_set_and_checked_over_services(living: LiveNode):
    described = living.call(DescribeParameters, "describe_parameters", DescribeParameters.Request(names=["max_skew"]))
    assert described.descriptors[0].type == ParameterType.PARAMETER_DOUBLE
    assert described.descriptors[0].floating_point_range[0].to_value == 1.0
    for band, accepted in (([0.5, 1.0], True), ([1.0, 0.5], False)):
        request = SetParameters.Request(parameters=[Parameter("height_band", value=band).to_parameter_msg()])
        assert living.call(SetParameters, "set_parameters", request).results[0].successful is accepted


@pytest.mark.fault
def test_a_player_does_not_wait_for_ever(living: LiveNode, bag: Path):
    assert living.play(bag, "--wait-for-node", "nobody", "--timeout", "2") == 2
    assert living.processes.last_line("player") == (
        "bag_player: node nobody is not ready after 2 s: nothing of it on /diagnostics yet"
    )


def test_the_node_outlives_its_players_and_goes_on_with_the_next(living: LiveNode, bag: Path):
    points = living.hear(PointCloud2, "/selfocc/occupied_points", qos.POINTS)
    assert living.play(bag, "--wait-for-node", "selfocc", "--rate", "2") == 0
    last = START_NS + 1_400_000_000
    living.until(
        lambda: points and points[-1].header.stamp.sec * 10**9 + points[-1].header.stamp.nanosec == last,
        "the last set of the second time",
    )
    assert living.log().count("time went back") == 1


def test_outputs_are_switched_while_it_runs(living: LiveNode, bag: Path):
    """The local map on, which nobody has asked for before; points off."""

    def switch(name: str, value: bool) -> None:
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        assert living.call(SetParameters, "set_parameters", request).results[0].successful

    switch("fusion.enabled", True)
    switch("publish.occupied_points", False)
    maps = living.hear(OccupancyGrid, "/selfocc/local_map", qos.GRID)
    points = living.hear(PointCloud2, "/selfocc/occupied_points", qos.POINTS)
    assert living.play(bag, "--wait-for-node", "selfocc", "--rate", "2") == 0
    last = START_NS + 1_400_000_000
    living.until(
        lambda: maps and maps[-1].header.stamp.sec * 10**9 + maps[-1].header.stamp.nanosec == last, "the last map"
    )
    assert points == []
    assert {found.header.frame_id for found in maps} == {"odom"}
    assert (maps[-1].info.width, maps[-1].info.height) == (150, 150)
    assert {-1, 0, 100} == set(maps[-1].data)
    switch("publish.occupied_points", True)


@pytest.mark.fault
def test_a_camera_without_info_and_one_of_another_reliability(living: LiveNode):
    """A best-effort camera joins the rig; its images are bgr8 with padded rows; a second one has no CameraInfo."""
    sensor = qos.profile(5, reliable=False)
    image = living.eye.create_publisher(Image, "/extra/image_raw", sensor)
    lonely = living.eye.create_publisher(Image, "/lonely/image_raw", sensor)
    info = living.eye.create_publisher(CameraInfo, "/extra/camera_info", sensor)
    living.until(lambda: image.get_subscription_count() and info.get_subscription_count(), "subscriptions to it")
    assert lonely.get_subscription_count() == 0
    grids = living.hear(OccupancyGrid, "/selfocc/occupancy_grid", qos.profile(1, latched=True))
    living.until(lambda: grids, "the old grid")
    message = Image(height=48, width=64, encoding="bgr8", step=200)
    message.data = np.zeros(48 * 200, np.uint8).tobytes()
    message.header.frame_id = "front_optical"
    calibration = CameraInfo(height=48, width=64, distortion_model="plumb_bob", d=[0.0] * 5)
    calibration.k = np.array([50.0, 0, 31.5, 0, 50.0, 23.5, 0, 0, 1])
    base_ns = START_NS + 1_000_000_000

    def send() -> bool:
        # Sent over and over, as a camera does: best effort may lose one.
        nonlocal base_ns
        base_ns += 20_000_000
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(base_ns, 10**9)
        calibration.header.stamp = message.header.stamp
        info.publish(calibration)
        image.publish(message)
        newest = grids[-1].header.stamp
        return newest.sec * 10**9 + newest.nanosec > START_NS + 1_400_000_000

    living.until(send, "a set of the new camera alone")
    assert "cameras: extra (/extra/image_raw)" in living.log()


@pytest.mark.fault
def test_a_player_refuses_to_play_beside_another_clock(living: LiveNode, bag: Path):
    clock = living.eye.create_publisher(Clock, "/clock", 10)
    try:
        # Slow, so that a machine too busy for discovery to be in time for the start still has it long before the end.
        assert living.play(bag, "--rate", "0.1") == 2
    finally:
        living.eye.destroy_publisher(clock)
    assert living.processes.last_line("player").startswith("bag_player: /clock is published already, by eye: ")


@pytest.mark.fault
def test_a_player_stops_when_another_clock_begins(living: LiveNode, bag: Path):
    told = living.hear(Clock, "/clock", qos.profile(10))
    living.start_player(bag, "--rate", "0.1")
    living.until(lambda: told, "the player's clock")
    clock = living.eye.create_publisher(Clock, "/clock", 10)
    try:
        assert living.played() == 2
    finally:
        living.eye.destroy_publisher(clock)
    assert living.processes.last_line("player").startswith("bag_player: /clock is published already, by eye: ")


def test_sigterm_ends_the_node_with_status_0(living: LiveNode):
    os.kill(living.processes.pids()["node"], signal.SIGTERM)
    living.until(lambda: "node" in living.processes.ended(), "the node ended")
    assert living.processes.ended()["node"] == 0
    assert "Traceback" not in living.log()
