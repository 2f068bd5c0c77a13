# SPDX-License-Identifier: Apache-2.0
"""A recording through player, node and recorder, each a process of its own, over real DDS."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfocc_ros.logs.reader import Bag
from selfocc_ros.ros.session import SessionError, SessionResult, play_through_node, played_sets


@dataclass
class Played:
    bag: Path
    result: SessionResult
    clouds: list[Any]
    grids: list[Any]
    progress: list[str]


@pytest.fixture(scope="module")
def played(make_bag: Any, fake_command: list[str], read_topic: Any, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Two loops of a small drive, on ground 0.35 m below base_link."""
    folder = tmp_path_factory.mktemp("session")
    bag = make_bag(folder / "bag", seconds=2.0)
    progress: list[str] = []
    result = play_through_node(
        bag,
        folder / "out",
        loop=2,
        extra_params={"ground_z": -0.35, "height_band": [0.0, 1.0], "local_ground": False, "tf_wait": 2.0},
        node_command=fake_command,
        progress=progress.append,
    )
    clouds = read_topic(result.output_bag, "/selfocc/occupied_points")
    grids = read_topic(result.output_bag, "/selfocc/occupancy_grid")
    return Played(bag, result, clouds, grids, progress)


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def test_every_published_stamp_is_one_of_the_reference_camera(played: Played):
    with Bag(played.bag) as bag:
        stamps = {stamp_ns(m.msg) for m in bag.messages(["/camera/front/image/compressed"])}
    assert set(played.result.published_stamps) <= stamps
    assert len(played.clouds) == len(played.grids) == played.result.frames_out
    assert [stamp_ns(m) for m in played.clouds] == list(played.result.published_stamps)
    assert [stamp_ns(m) for m in played.grids] == list(played.result.published_stamps)


def test_nothing_is_missed_at_the_start_and_both_loops_come_through(played: Played):
    assert played.result.frames_in == 20
    assert played.result.frames_missed_at_start == 0
    # A slow machine may drop sets, but not most of them: the predictor does next to nothing.
    assert played.result.frames_out >= 10
    backward = [b for a, b in itertools.pairwise(played.result.published_stamps) if b < a]
    assert len(backward) == 1
    assert played.result.node_log.read_text().count("time went back") == 1


def test_voxels_equal_those_computed_without_ros(played: Played, fake_predictor: Any, assert_live_equals_offline: Any):
    assert_live_equals_offline(played.bag, played.result.output_bag, fake_predictor(ground_z=-0.35))


def test_recorded_messages_keep_the_conventions(played: Played):
    for cloud, grid in zip(played.clouds, played.grids, strict=True):
        assert cloud.header.frame_id == grid.header.frame_id == "base_link"
        assert [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields] == [
            ("x", 0, 7, 1), ("y", 4, 7, 1), ("z", 8, 7, 1), ("rgb", 12, 7, 1),
        ]  # fmt: skip
        assert (cloud.height, cloud.point_step, cloud.row_step) == (1, 16, 16 * cloud.width)
        assert cloud.is_dense
        assert len(cloud.data) == cloud.row_step > 0
        assert grid.info.resolution == pytest.approx(0.4)
        assert (grid.info.width, grid.info.height) == (20, 15)
        origin = grid.info.origin.position
        assert (origin.x, origin.y, origin.z) == pytest.approx((-4.0, -3.0, -0.35))
        cells = np.asarray(grid.data).reshape(15, 20)
        assert set(np.unique(cells)) == {-1, 0, 100}
        assert cells[0, 0] == -1
        # The band 0 .. 1 m above ground at -0.35 m overlaps the layers from -0.55 to 0.65 m of this grid.
        points = np.frombuffer(cloud.data.tobytes(), "<f4").reshape(-1, 4)[:, :3]
        low = points[(points[:, 2] > -0.55) & (points[:, 2] < 0.65)]
        hit = np.zeros((15, 20), bool)
        hit[((low[:, 1] + 3.0) / 0.4).astype(int), ((low[:, 0] + 4.0) / 0.4).astype(int)] = True
        np.testing.assert_array_equal(hit, cells == 100)


def test_latency_is_known_for_every_message(played: Played):
    assert all(math.isfinite(ms) and ms > 0 for ms in played.result.latencies_ms)
    assert len(played.result.latencies_ms) == played.result.frames_out
    assert played.result.latency_ms(0.5) <= played.result.latency_ms(0.95)
    assert played.result.rate_hz > 0


def test_the_node_says_what_it_does_and_ends_cleanly(played: Played):
    log = played.result.node_log.read_text()
    assert "cameras: front (/camera/front/image/compressed), left" in log
    assert "selfocc]: ready" in log
    assert " Hz, " in log
    # rcl itself warns where both the old and the new variable for staying on this machine are set.
    assert [line for line in log.splitlines() if "WARN" in line and "[rcl]" not in line] == []
    assert played.result.node_exit == 0


def test_progress_is_told_while_it_plays(played: Played):
    assert played.progress[0].startswith("playing in ROS domain ")
    assert any(line.endswith("of 2.2 s") for line in played.progress)
    assert "starting again from the front (pass 2), time jumps back" in played.result.player_log.read_text()


def test_sets_of_what_was_played_follow_the_nodes_parameters():
    types = {}
    for name in ("front", "left"):
        types[f"/{name}/image"] = "sensor_msgs/msg/Image"
        types[f"/{name}/camera_info"] = "sensor_msgs/msg/CameraInfo"
    rows = [
        {"topic": f"/{name}/image", "stamp_ns": k * 1_000_000_000 + offset, "wall_ns": 1000 * k + wall}
        for _ in range(2)
        for k in range(1, 4)
        for name, offset, wall in (("front", 0, 1), ("left", 20_000_000, 2))
    ]
    rows += [{"topic": "/rear/image", "stamp_ns": 0, "wall_ns": 0}]
    both = played_sets(rows, types, {})
    assert [(s.stamp_ns // 1_000_000_000, max(s.items.values())) for s in both] == [
        (k, 1000 * k + 2) for _ in range(2) for k in (1, 2, 3)
    ]
    one = played_sets(rows, types, {"cameras": ["left"]})
    assert [set(s.items) for s in one] == [{"left"}] * 6


@pytest.mark.fault
def test_a_node_that_ends_at_the_start_is_an_error_with_its_own_words(
    make_bag: Callable[..., Path], fake_command: list[str], tmp_path: Path
):
    bag = make_bag(tmp_path / "bag", seconds=0.4)
    with pytest.raises(SessionError, match="the node ended with status 2: parameter max_skew is 7, expected 0 to 1"):
        play_through_node(bag, tmp_path / "out", extra_params={"max_skew": 7.0}, node_command=fake_command)
