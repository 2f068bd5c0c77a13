# SPDX-License-Identifier: Apache-2.0
"""The rolling local map: what it remembers, forgets and clears, and that it stays sharp on a drive."""

from __future__ import annotations

import numpy as np
import pytest

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.poses import pose_from_rpy
from selfocc_ros.geometry.voxels import FREE, OCC3D, OCCUPIED, UNKNOWN, OccupancyVolume, VoxelGrid
from selfocc_ros.runtime.local_map import LocalMap, Weights
from selfocc_ros.town.rigs import load_rig
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import render_frame, stamp_of, truth_volume

GRID = VoxelGrid((-4.0, -4.0, -1.0), (4.0, 4.0, 1.0), (20, 20, 5))  # cells of 0.4 m
SECOND = 10**9
WEIGHTS = Weights(hit=0.85, miss=0.4, decay_s=10.0)


def filled(value: int, *, but: dict[tuple[float, float, float], int] | None = None) -> OccupancyVolume:
    """A volume of one state but for some points, in metres."""
    state = np.full(GRID.shape, value, np.uint8)
    for point, other in (but or {}).items():
        index, inside = GRID.index_of(point)
        assert inside
        state[tuple(index)] = other
    return OccupancyVolume(GRID, state)


def state_at(found: OccupancyVolume, point: tuple[float, float, float]) -> int:
    index, inside = found.grid.index_of(point)
    assert inside
    return int(found.state[tuple(index)])


def at(x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    return pose_from_rpy([x, y, 0.0], 0.0, 0.0, yaw)


def test_an_empty_map_says_so():
    with pytest.raises(SelfOccError, match="no volume has been added"):
        LocalMap(8.0).volume()


def test_voxels_are_as_large_as_those_added_and_lie_on_whole_cells_of_the_world():
    fused = LocalMap(8.0)
    fused.add(filled(FREE), at(1.13, -0.77), 0, WEIGHTS)
    grid = fused.volume().grid
    np.testing.assert_allclose(grid.cell, GRID.cell)
    apart = (np.array(grid.lower) - GRID.lower) / grid.cell
    np.testing.assert_allclose(apart, np.rint(apart), atol=1e-6)
    assert grid.shape[:2] == (20, 20)
    middle = (np.array(grid.lower) + grid.upper)[:2] / 2
    assert np.abs(middle - [1.13, -0.77]).max() <= 0.5 * 0.4 + 1e-9


@pytest.mark.parametrize("seed", range(8))
def test_each_voxel_takes_what_the_volume_says_of_its_centre(seed: int):
    """One volume in any pose, roll and pitch as well, against the reading of every voxel by itself."""
    rng = np.random.default_rng(seed)
    state = rng.choice(np.array([FREE, OCCUPIED, UNKNOWN], np.uint8), GRID.shape)
    odom_from_base = pose_from_rpy(rng.uniform(-90, 90, 3), *rng.uniform(-0.1, 0.1, 2), rng.uniform(-3.1, 3.1))
    fused = LocalMap(9.0)
    fused.add(OccupancyVolume(GRID, state), odom_from_base, 0, WEIGHTS)
    found = fused.volume()
    centres = found.grid.centres().astype(np.float64).reshape(-1, 3)
    index, inside = GRID.index_of((centres - odom_from_base[:3, 3]) @ odom_from_base[:3, :3])
    expected = np.full(len(centres), UNKNOWN, np.uint8)
    expected[inside] = state[tuple(index[inside].T)]
    # Centres on the very border of two voxels may go either way.
    assert (found.state.ravel() != expected).mean() < 1e-3
    assert {FREE, OCCUPIED, UNKNOWN} == set(np.unique(expected).tolist())


def test_driving_on_moves_what_is_known_by_nothing():
    """A thing seen once from the start stays in its voxel, whatever way the vehicle goes on."""
    fused = LocalMap(20.0)
    thing = (2.2, 1.4, 0.0)
    fused.add(filled(FREE, but={thing: OCCUPIED}), at(), 0, WEIGHTS)
    for k in range(1, 60):
        x, y, yaw = 0.1 * k, 2.0 * np.sin(0.1 * k), 0.1 * k
        fused.add(filled(UNKNOWN), at(x, y, yaw), k * SECOND // 60, WEIGHTS)
    found = fused.volume()
    assert state_at(found, thing) == OCCUPIED
    assert (found.state == OCCUPIED).sum() == 1


def test_what_lies_behind_the_map_is_gone():
    fused = LocalMap(8.0)
    fused.add(filled(FREE), at(), 0, WEIGHTS)
    fused.add(filled(UNKNOWN), at(x=6.0), 1, WEIGHTS)
    assert (fused.volume().state == FREE).any()
    fused.add(filled(UNKNOWN), at(x=100.0), 2, WEIGHTS)
    fused.add(filled(UNKNOWN), at(), 3, WEIGHTS)
    assert (fused.volume().state == UNKNOWN).all()


def test_a_thing_appears_at_its_second_sight_where_all_was_free_and_at_once_where_nothing_was_known():
    thing = (1.0, 1.0, 0.0)
    fused = LocalMap(8.0)
    fused.add(filled(UNKNOWN, but={thing: OCCUPIED}), at(), 0, WEIGHTS)
    assert state_at(fused.volume(), thing) == OCCUPIED
    fused = LocalMap(8.0)
    for k in range(20):
        fused.add(filled(FREE), at(), k, WEIGHTS)
    fused.add(filled(FREE, but={thing: OCCUPIED}), at(), 20, WEIGHTS)
    fused.add(filled(FREE, but={thing: OCCUPIED}), at(), 21, WEIGHTS)
    assert state_at(fused.volume(), thing) == OCCUPIED


def test_what_has_moved_away_is_cleared_within_three_looks_and_stays_while_nobody_looks():
    thing = (1.0, 1.0, 0.0)
    fused = LocalMap(8.0)
    for k in range(30):
        fused.add(filled(FREE, but={thing: OCCUPIED}), at(), k, WEIGHTS)
    for k in range(30, 60):
        fused.add(filled(UNKNOWN), at(), k, WEIGHTS)
    assert state_at(fused.volume(), thing) == OCCUPIED
    for k in range(60, 63):
        fused.add(filled(FREE), at(), k, WEIGHTS)
    assert state_at(fused.volume(), thing) != OCCUPIED


def test_a_thing_seen_every_other_time_stays():
    thing = (1.0, 1.0, 0.0)
    fused = LocalMap(8.0)
    for k in range(20):
        fused.add(filled(FREE, but={thing: OCCUPIED if k % 2 == 0 else FREE}), at(), k, WEIGHTS)
        if k > 2 and k % 2 == 0:
            assert state_at(fused.volume(), thing) == OCCUPIED


def test_what_is_not_seen_any_more_is_forgotten_after_the_decay():
    thing = (1.0, 1.0, 0.0)
    fused = LocalMap(8.0)
    for k in range(30):
        fused.add(filled(FREE, but={thing: OCCUPIED}), at(), k, WEIGHTS)
    fused.add(filled(UNKNOWN), at(), 9 * SECOND, WEIGHTS)
    assert state_at(fused.volume(), thing) == OCCUPIED
    fused.add(filled(UNKNOWN), at(), 11 * SECOND, WEIGHTS)
    assert (fused.volume().state == UNKNOWN).all()


def test_time_that_goes_back_starts_a_new_map_and_so_do_other_voxels():
    fused = LocalMap(8.0)
    fused.add(filled(FREE), at(), 5 * SECOND, WEIGHTS)
    fused.add(filled(UNKNOWN), at(), 4 * SECOND, WEIGHTS)
    assert (fused.volume().state == UNKNOWN).all()
    fused.add(filled(FREE), at(), 5 * SECOND, WEIGHTS)
    coarse = VoxelGrid(GRID.lower, GRID.upper, (10, 10, 5))
    fused.add(OccupancyVolume(coarse, np.full(coarse.shape, UNKNOWN, np.uint8)), at(), 6 * SECOND, WEIGHTS)
    assert (fused.volume().state == UNKNOWN).all()
    np.testing.assert_allclose(fused.volume().grid.cell, coarse.cell)


def test_a_voxel_keeps_the_class_it_was_last_seen_as():
    names = ("road", "car", "bus")
    fused = LocalMap(8.0)
    for k, label in enumerate((1, 2)):
        state, classes = np.full(GRID.shape, FREE, np.uint8), np.zeros(GRID.shape, np.uint8)
        state[5, 6, 2], classes[5, 6, 2] = OCCUPIED, label
        fused.add(OccupancyVolume(GRID, state, None, classes, names), at(), k, WEIGHTS)
    fused.add(
        OccupancyVolume(GRID, np.full(GRID.shape, UNKNOWN, np.uint8), None, np.zeros(GRID.shape, np.uint8), names),
        at(),
        2,
        WEIGHTS,
    )
    found = fused.volume()
    assert found.class_names == names
    assert found.classes is not None
    assert found.classes[found.state == OCCUPIED].tolist() == [2]
    assert not found.classes[found.state != OCCUPIED].any()


def test_classes_stay_where_they_are_while_the_vehicle_drives_on():
    names = ("road", "car")
    state, classes = np.full(GRID.shape, FREE, np.uint8), np.zeros(GRID.shape, np.uint8)
    state[15, 6, 2], classes[15, 6, 2] = OCCUPIED, 1
    unknown = OccupancyVolume(GRID, np.full(GRID.shape, UNKNOWN, np.uint8), None, np.zeros(GRID.shape, np.uint8), names)
    fused = LocalMap(8.0)
    fused.add(OccupancyVolume(GRID, state, None, classes, names), at(), 0, WEIGHTS)
    fused.add(unknown, at(x=2.0, y=-0.8), 1, WEIGHTS)
    found = fused.volume()
    assert found.classes is not None
    assert found.classes[found.state == OCCUPIED].tolist() == [1]


def test_memory_does_not_grow_with_the_way():
    fused = LocalMap(8.0)
    shapes = set()
    for k in range(50):
        fused.add(filled(FREE), at(x=1.7 * k, yaw=0.3 * k), k * SECOND, WEIGHTS)
        shapes.add(fused.volume().state.shape)
    assert len(shapes) == 1


def test_on_a_drive_the_map_is_sharper_than_a_single_volume_and_knows_more():
    """True volumes, seen by six cameras of a town drive at 3 Hz, against the truth in the voxels of the map."""
    town, rig = Town(9003, seconds=6.0), load_rig("surround6")
    fused, single, both = LocalMap(40.0), [], []
    for k in range(8):
        frame = render_frame(town, rig, stamp_of(0.5 + k / 3), width=120, colours=False)
        truth = truth_volume(town, frame, stride=1)
        state = np.where(truth.camera_mask, np.where(truth.classes != 17, OCCUPIED, FREE), UNKNOWN).astype(np.uint8)
        volume = OccupancyVolume(OCC3D, state)
        fused.add(volume, frame.odom_from_base, frame.stamp_ns, WEIGHTS)
        if k < 4:
            continue
        alone = LocalMap(40.0)
        alone.add(volume, frame.odom_from_base, frame.stamp_ns, WEIGHTS)
        one, all_of_them = alone.volume(), fused.volume()
        assert one.grid == all_of_them.grid
        there = town.occupancy(one.grid, np.eye(4), 0.5 + k / 3) != 17
        single.append((there, one.state, one.state != UNKNOWN))
        both.append((there, all_of_them.state, one.state != UNKNOWN))
        assert (all_of_them.state != UNKNOWN).sum() > 1.1 * (one.state != UNKNOWN).sum()

    def iou(rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
        hit = sum(int((there & (state == OCCUPIED))[known].sum()) for there, state, known in rows)
        union = sum(int((there | (state == OCCUPIED))[known].sum()) for there, state, known in rows)
        return hit / union

    remembered = [(there, state, state != UNKNOWN) for there, state, _ in both]
    assert iou(both) > iou(single) + 0.01
    assert iou(remembered) > iou(single) > 0.5
