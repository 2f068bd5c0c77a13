# SPDX-License-Identifier: Apache-2.0
"""TransformTree: what tf2 does with the same transforms."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.poses import apply, invert, pose, pose_from_rpy
from selfocc_ros.geometry.transforms import (
    DisconnectedError,
    ExtrapolationError,
    TransformError,
    TransformTree,
    UnknownFrameError,
)

S = 1_000_000_000
MS = 1_000_000


def at(x: float, y: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    return pose_from_rpy((x, y, 0.0), 0.0, 0.0, yaw)


def random_pose(rng: np.random.Generator) -> np.ndarray:
    return pose(rng.normal(size=3), rng.normal(size=4))


def vehicle() -> TransformTree:
    """A car that drives 10 m/s along odom's x and turns 0.2 rad/s, transforms at 10 Hz from 100 s to 105 s."""
    tree = TransformTree()
    tree.set_static("base_link", "mast", pose_from_rpy((1.0, 0.0, 2.0), 0, 0, 0))
    tree.set_static("mast", "camera", pose_from_rpy((0.0, 0.3, 0.1), -1.5, 0.0, -1.6))
    tree.set_static("base_link", "lidar", pose_from_rpy((0.5, 0.0, 1.8), 0, 0, 0.7))
    for i in range(51):
        tree.set("odom", "base_link", 100 * S + i * 100 * MS, at(1.0 * i, 0.0, 0.02 * i))
    return tree


# --- static edges


def test_chains_go_up_down_and_across() -> None:
    rng = np.random.default_rng(0)
    a_b, b_c, a_d, d_e = (random_pose(rng) for _ in range(4))
    tree = TransformTree()
    tree.set_static("a", "b", a_b)
    tree.set_static("b", "c", b_c)
    tree.set_static("a", "d", a_d)
    tree.set_static("d", "e", d_e)
    np.testing.assert_allclose(tree.lookup("a", "c"), a_b @ b_c, atol=1e-14)
    np.testing.assert_allclose(tree.lookup("c", "a"), invert(a_b @ b_c), atol=1e-14)
    np.testing.assert_allclose(tree.lookup("e", "c"), invert(a_d @ d_e) @ a_b @ b_c, atol=1e-14)
    np.testing.assert_allclose(tree.lookup("b", "c", 12345), b_c, atol=1e-14)
    np.testing.assert_array_equal(tree.lookup("e", "e"), np.eye(4))
    assert tree.frames() == ("a", "b", "c", "d", "e")


def test_a_transform_takes_points_from_source_to_target() -> None:
    tree = TransformTree()
    tree.set_static("base_link", "camera", at(2.0, 0.0, np.pi / 2))
    np.testing.assert_allclose(apply(tree.lookup("base_link", "camera"), (1.0, 0.0, 0.0)), (2.0, 1.0, 0.0), atol=1e-15)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_any_tree_gives_what_composing_by_hand_gives(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    tree = TransformTree()
    root_from = [np.eye(4)]
    for child in range(1, count):
        parent = int(rng.integers(child))
        edge = random_pose(rng)
        root_from.append(root_from[parent] @ edge)
        if rng.random() < 0.5:
            tree.set_static(f"f{parent}", f"f{child}", edge)
        else:
            tree.set(f"f{parent}", f"f{child}", 7 * S, edge)
    target, source = rng.integers(count, size=2)
    expected = invert(root_from[target]) @ root_from[source]
    np.testing.assert_allclose(tree.lookup(f"f{target}", f"f{source}", 7 * S), expected, atol=1e-11)
    np.testing.assert_allclose(tree.lookup(f"f{target}", f"f{source}"), expected, atol=1e-11)


def test_a_newer_static_transform_replaces_the_older() -> None:
    tree = TransformTree()
    tree.set_static("base_link", "camera", at(1.0))
    tree.set_static("base_link", "camera", at(2.0))
    assert tree.lookup("base_link", "camera")[0, 3] == 2.0


@pytest.mark.parametrize("static_first", [True, False])
def test_static_wins_over_timed_in_whichever_order_they_come(static_first: bool) -> None:
    tree = TransformTree()
    if static_first:
        tree.set_static("base_link", "camera", at(1.0))
    for i in range(3):
        tree.set("base_link", "camera", (5 + i) * S, at(2.0))
    if not static_first:
        tree.set_static("base_link", "camera", at(1.0))
    assert tree.lookup("base_link", "camera", 99 * S)[0, 3] == 1.0


def test_leading_slashes_are_dropped() -> None:
    tree = TransformTree()
    tree.set_static("/base_link", "camera", at(1.0))
    tree.set("/odom", "/base_link", S, at(2.0))
    assert tree.frames() == ("base_link", "camera", "odom")
    assert tree.lookup("odom", "/camera")[0, 3] == 3.0


# --- time


@given(st.integers(0, 5000))
def test_between_two_stamps_a_transform_is_interpolated_as_scipy_does(ms: int) -> None:
    tree = vehicle()
    found = tree.lookup("odom", "base_link", 100 * S + ms * MS)
    keys = Rotation.from_rotvec(np.outer(0.02 * np.arange(51), (0, 0, 1)))
    np.testing.assert_allclose(found[:3, :3], Slerp(np.arange(51) * 100, keys)(ms).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(found[:3, 3], (ms / 100, 0, 0), atol=1e-9)


def test_interpolation_keeps_its_digits_at_real_stamps() -> None:
    """Nanoseconds of this century have more digits than a float64."""
    start = 1_700_000_000_123_456_789
    tree = TransformTree()
    tree.set("odom", "base_link", start, at(0.0))
    tree.set("odom", "base_link", start + 1000, at(1000.0))
    assert tree.lookup("odom", "base_link", start + 1)[0, 3] == pytest.approx(1.0, abs=1e-12)


def test_transforms_may_come_out_of_order_and_twice() -> None:
    tree = TransformTree()
    for ms in (0, 100, 50, 100, 50):
        tree.set("odom", "base_link", S + ms * MS, at(ms))
    tree.set("odom", "base_link", S + 50 * MS, at(999.0))  # repeated stamp: the first stays
    assert tree.lookup("odom", "base_link", S + 25 * MS)[0, 3] == pytest.approx(25.0)
    assert tree.lookup("odom", "base_link", S + 50 * MS)[0, 3] == 50.0


def test_one_timed_transform_holds_at_its_stamp_alone() -> None:
    tree = TransformTree()
    tree.set("odom", "base_link", S, at(3.0))
    assert tree.lookup("odom", "base_link", S)[0, 3] == 3.0
    assert tree.lookup("odom", "base_link")[0, 3] == 3.0
    for stamp in (S - 1, S + 1):
        with pytest.raises(ExtrapolationError):
            tree.lookup("odom", "base_link", stamp)


def test_latest_means_what_all_timed_transforms_on_the_way_have_reached() -> None:
    tree = TransformTree()
    for second in range(10):
        tree.set("odom", "base_link", second * S, at(second))
    for second in range(7):
        tree.set("map", "odom", second * S, at(100.0 * second))
    tree.set_static("base_link", "camera", at(0.5))
    assert tree.lookup("odom", "camera")[0, 3] == 9.5
    assert tree.lookup("map", "camera")[0, 3] == 606.5


def test_the_camera_at_its_own_stamp_in_the_vehicle_at_another() -> None:
    tree = vehicle()
    then, now = 101 * S + 37 * MS, 101 * S + 90 * MS
    expected = invert(tree.lookup("odom", "base_link", now)) @ tree.lookup("odom", "camera", then)
    found = tree.lookup_between("base_link", now, "camera", then, "odom")
    np.testing.assert_allclose(found, expected, atol=1e-12)
    # 53 ms at 10 m/s: the camera was half a metre further back than where it is mounted.
    assert np.linalg.norm(found[:3, 3] - tree.lookup("base_link", "camera")[:3, 3]) == pytest.approx(0.53, abs=0.05)
    np.testing.assert_allclose(
        tree.lookup_between("base_link", now, "camera", now, "odom"), tree.lookup("base_link", "camera"), atol=1e-12
    )


def test_static_parts_can_be_looked_up_at_any_time() -> None:
    tree = vehicle()
    np.testing.assert_array_equal(tree.lookup("base_link", "camera", 1), tree.lookup("base_link", "camera"))
    np.testing.assert_allclose(
        tree.lookup("lidar", "camera", 999 * S), tree.lookup("lidar", "camera", 101 * S), atol=1e-14
    )


def test_a_gap_above_the_common_ancestor_does_not_matter() -> None:
    tree = vehicle()
    tree.set("map", "odom", 50 * S, at(0.0))
    assert tree.lookup("base_link", "camera", 102 * S).shape == (4, 4)
    assert tree.lookup("odom", "camera", 102 * S).shape == (4, 4)


def test_hanging_a_frame_elsewhere_takes_effect_at_its_stamp() -> None:
    tree = TransformTree()
    tree.set_static("world", "table", at(10.0))
    tree.set_static("world", "gripper", at(20.0))
    tree.set("table", "cup", 1 * S, at(1.0))
    tree.set("table", "cup", 2 * S, at(2.0))
    tree.set("gripper", "cup", 3 * S, at(0.5))
    tree.set("gripper", "cup", 4 * S, at(0.7))
    assert tree.lookup("world", "cup", 1500 * MS)[0, 3] == pytest.approx(11.5)
    assert tree.lookup("world", "cup", 2500 * MS)[0, 3] == pytest.approx(12.0)  # not interpolated between two parents
    assert tree.lookup("world", "cup", 3500 * MS)[0, 3] == pytest.approx(20.6)
    assert tree.lookup("gripper", "cup")[0, 3] == pytest.approx(0.7)


def test_what_is_returned_is_the_callers_own() -> None:
    tree = vehicle()
    tree.lookup("base_link", "mast")[:] = 0.0
    assert tree.lookup("base_link", "mast")[2, 3] == 2.0
    mine = at(1.0)
    tree.set_static("base_link", "extra", mine)
    mine[0, 3] = 5.0
    assert tree.lookup("base_link", "extra")[0, 3] == 1.0


# --- history and jumps


def test_history_is_limited_behind_the_newest() -> None:
    tree = TransformTree(history_s=2.0)
    for i in range(100):
        tree.set("odom", "base_link", i * 100 * MS, at(i))
    newest = 9900 * MS
    assert tree.lookup("odom", "base_link", newest - 2 * S)[0, 3] == pytest.approx(79.0)
    with pytest.raises(ExtrapolationError) as caught:
        tree.lookup("odom", "base_link", newest - 2 * S - 1)
    assert not caught.value.future
    assert len(tree._timed["base_link"].stamps) == 21


def test_memory_does_not_grow_with_the_drive() -> None:
    tree = TransformTree(history_s=1.0)
    for i in range(5000):
        tree.set("odom", "base_link", i * 10 * MS, np.eye(4))
    history = tree._timed["base_link"]
    assert len(history.stamps) == len(history.parents) == len(history.poses) == 101


def test_a_jump_back_in_time_clears_timed_transforms_and_keeps_static_ones() -> None:
    tree = vehicle()
    assert tree.jumps == 0
    tree.set("odom", "base_link", 100 * S, at(7.0))
    assert tree.jumps == 1
    assert tree.lookup("odom", "base_link", 100 * S)[0, 3] == 7.0
    with pytest.raises(ExtrapolationError) as caught:
        tree.lookup("odom", "base_link", 102 * S)
    assert caught.value.future
    assert tree.lookup("base_link", "camera").shape == (4, 4)


def test_a_small_step_back_is_no_jump() -> None:
    tree = vehicle()
    tree.set("odom", "base_link", 104 * S + 50 * MS, at(40.5))
    assert tree.jumps == 0
    assert tree.lookup("odom", "base_link", 100 * S)[0, 3] == 0.0


def test_a_transform_that_lags_behind_others_is_no_jump() -> None:
    tree = vehicle()
    tree.set("map", "odom", 102 * S, at(0.0))
    assert tree.jumps == 0
    assert tree.lookup("map", "camera", 102 * S).shape == (4, 4)


def test_stragglers_after_a_jump_neither_clear_again_nor_get_in() -> None:
    tree = TransformTree()
    for i in range(30):
        tree.set("map", "odom", 100 * S + i * 100 * MS, at(0.0))
        tree.set("odom", "base_link", 100 * S + i * 100 * MS, at(i))
    tree.set("odom", "base_link", 100 * S, at(50.0))
    tree.set("map", "odom", 103 * S, at(9.0))
    for i in range(1, 10):
        tree.set("odom", "base_link", 100 * S + i * 100 * MS, at(50.0 + i))
        tree.set("map", "odom", 100 * S + i * 100 * MS, at(1.0))
    assert tree.jumps == 1
    assert tree.lookup("map", "base_link")[0, 3] == pytest.approx(60.0)


def test_clearing_keeps_static_transforms_alone() -> None:
    tree = vehicle()
    tree.clear()
    assert tree.frames() == ("base_link", "camera", "lidar", "mast")
    with pytest.raises(UnknownFrameError):
        tree.lookup("odom", "base_link", 101 * S)
    tree.set("odom", "base_link", 3 * S, at(0.0))
    assert tree.jumps == 0


# --- errors


@pytest.mark.fault
def test_unknown_frames_are_named_with_those_that_are_known() -> None:
    with pytest.raises(UnknownFrameError, match="frame 'cam' is unknown, known frames: base_link, camera, lidar, mast"):
        vehicle().lookup("base_link", "cam", 101 * S)
    with pytest.raises(UnknownFrameError, match="known frames: none"):
        TransformTree().lookup("a", "a")
    with pytest.raises(UnknownFrameError, match="'world'"):
        vehicle().lookup_between("base_link", 101 * S, "camera", 101 * S, "world")


@pytest.mark.fault
def test_two_trees_are_told_apart_from_missing_times() -> None:
    tree = vehicle()
    tree.set("world", "robot", 5 * S, at(0.0))
    for stamp in (101 * S, 5 * S, None):
        with pytest.raises(DisconnectedError, match="'base_link' belongs to the tree of 'odom', 'robot' to that of 'w"):
            tree.lookup("base_link", "robot", stamp)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("stamp", "future", "words"),
    [(105 * S + 40 * MS, True, "lies 0.040 s after the newest"), (99 * S, False, "lies 1.000 s before the oldest")],
)
def test_extrapolation_says_in_which_direction_and_how_far(stamp: int, future: bool, words: str) -> None:
    for target, source in (("odom", "camera"), ("camera", "odom")):
        with pytest.raises(ExtrapolationError, match=f"odom <- base_link at .*{words}") as caught:
            vehicle().lookup(target, source, stamp)
        assert caught.value.future is future
        assert "\n" not in str(caught.value)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("parent", "child", "matrix", "sentence"),
    [
        ("a", "a", np.eye(4), "its own parent"),
        ("a", "/a", np.eye(4), "its own parent"),
        ("", "a", np.eye(4), "two frame names"),
        ("a", "b", np.full((4, 4), np.nan), "transform a <- b holds NaN"),
        ("a", "b", 2 * np.eye(4), "transform a <- b is no rigid transform"),
    ],
)
def test_what_is_no_transform_is_refused(parent: str, child: str, matrix: np.ndarray, sentence: str) -> None:
    tree = TransformTree()
    with pytest.raises(TransformError, match=sentence):
        tree.set_static(parent, child, matrix)
    with pytest.raises(TransformError, match=sentence):
        tree.set(parent, child, S, matrix)
    assert tree.frames() == ()


@pytest.mark.fault
def test_loops_are_found() -> None:
    tree = TransformTree()
    tree.set_static("a", "b", np.eye(4))
    tree.set_static("b", "c", np.eye(4))
    tree.set_static("c", "a", np.eye(4))
    tree.set_static("x", "y", np.eye(4))
    with pytest.raises(TransformError, match="form a loop"):
        tree.lookup("a", "y")
    with pytest.raises(TransformError, match="form a loop"):
        tree.lookup("y", "a", S)


def test_errors_are_the_projects_own() -> None:
    for error in (UnknownFrameError, DisconnectedError, ExtrapolationError):
        assert issubclass(error, TransformError)
    assert issubclass(TransformError, SelfOccError)


def test_writers_and_readers_in_threads_do_not_disturb_each_other() -> None:
    tree = vehicle()
    wrong: list[object] = []
    done = threading.Event()

    def write() -> None:
        for i in range(51, 1500):
            tree.set("odom", "base_link", 100 * S + i * 100 * MS, at(1.0 * i))
        done.set()

    def read() -> None:
        while not done.is_set():
            try:
                x = tree.lookup("odom", "base_link")[0, 3]
            except TransformError as error:
                wrong.append(error)
                return
            if not x >= 50.0 - 1e-9:
                wrong.append(x)

    threads = [threading.Thread(target=read) for _ in range(2)] + [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_gap_is_what_a_lookup_interpolates_over() -> None:
    tree = vehicle()
    tree.set("odom", "base_link", 108 * S, at(80.0))
    assert tree.gap_ns("camera", "odom", 107 * S) == 3 * S
    assert tree.gap_ns("odom", "camera", 101 * S + 30 * MS) == 0  # the usual 0.1 s
    assert tree.gap_ns("lidar", "camera", 107 * S) == 0  # nothing moves in between
    for second in range(100, 110, 2):
        tree.set("map", "odom", second * S, at(0.0))
    assert tree.gap_ns("map", "base_link", 101 * S) == 0  # localisation that corrects now and then
    assert tree.gap_ns("map", "base_link", 107 * S) == 3 * S


def test_several_lookups_at_once_are_the_same_as_one_by_one() -> None:
    tree = TransformTree()
    tree.set_static("base", "front", pose_from_rpy((1.0, 0.0, 1.5), 0.0, 0.1, 0.0))
    tree.set_static("base", "left", pose_from_rpy((0.0, 1.0, 1.5), 0.0, 0.0, 1.5))
    for k in range(5):
        tree.set("odom", "base", k * 100, pose_from_rpy((0.3 * k, 0.1 * k * k, 0.0), 0.0, 0.0, 0.05 * k))
    sources = [("front", 210), ("left", 170), ("nowhere", 200), ("front", 900)]
    front, left, nowhere, late = tree.lookup_each("base", 200, sources, "odom")
    np.testing.assert_array_equal(front, tree.lookup_between("base", 200, "front", 210, "odom"))
    np.testing.assert_array_equal(left, tree.lookup_between("base", 200, "left", 170, "odom"))
    assert isinstance(nowhere, UnknownFrameError)
    assert isinstance(late, ExtrapolationError)
    assert late.future
    assert all(isinstance(pose, ExtrapolationError) for pose in tree.lookup_each("base", 900, sources[:2], "odom"))
