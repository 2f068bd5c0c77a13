# SPDX-License-Identifier: Apache-2.0
"""True occupancy against dense sampling, and camera masks against slow marching."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import body_from_optical, pose_from_rpy
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.geometry.voxels import OCC3D, VoxelGrid
from selfocc_ros.town.objects import GROUND_LABELS, Label
from selfocc_ros.town.occupancy import ball_overlaps, box_overlaps
from selfocc_ros.town.town import Town
from selfocc_ros.town.visibility import camera_mask

GRID = VoxelGrid((-3.0, -3.0, -2.0), (3.0, 3.0, 2.0), (15, 15, 10))
angles = st.floats(-3.1, 3.1)
lengths = st.floats(0.05, 1.5)


def full(grid: VoxelGrid, found: tuple[tuple[slice, ...], np.ndarray] | None) -> np.ndarray:
    mask = np.zeros(grid.shape, dtype=bool)
    if found is not None:
        mask[found[0]] = found[1]
    return mask


def voxels_with(grid: VoxelGrid, points: np.ndarray) -> np.ndarray:
    index, inside = grid.index_of(points)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[tuple(index[inside].T)] = True
    return mask


@settings(max_examples=60, deadline=None)
@given(st.tuples(angles, st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)), st.tuples(lengths, lengths, lengths),
       st.tuples(*[st.floats(-2.0, 2.0)] * 3))  # fmt: skip
def test_box_overlap_is_what_sampling_finds(
    turn: tuple[float, float, float], half: tuple[float, float, float], middle: tuple[float, float, float]
) -> None:
    axes = pose_from_rpy((0, 0, 0), turn[1], turn[2], turn[0])[:3, :3]
    found = full(GRID, box_overlaps(GRID, np.asarray(middle), axes, np.asarray(half)))
    spread = [np.linspace(-h, h, 40) for h in half]
    points = np.stack(np.meshgrid(*spread, indexing="ij"), -1).reshape(-1, 3) @ axes.T + middle
    sampled = voxels_with(GRID, points)
    assert not (sampled & ~found).any(), "a voxel with a point of the box was missed"
    # What was found shares a point with the box: projecting to and fro between the two bodies closes in on it.
    low = GRID.centres().astype(np.float64)[found] - GRID.cell / 2
    point = low + GRID.cell / 2
    for _ in range(300):
        in_box = np.clip((point - middle) @ axes, -np.asarray(half), half) @ axes.T + middle
        point = np.clip(in_box, low, low + GRID.cell)
    assert np.linalg.norm(in_box - point, axis=-1).max(initial=0.0) < 0.01


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 1.4), st.tuples(*[st.floats(-2.0, 2.0)] * 3))
def test_ball_overlap_is_the_distance_to_the_nearest_point_of_the_voxel(
    radius: float, middle: tuple[float, float, float]
) -> None:
    found = full(GRID, ball_overlaps(GRID, np.asarray(middle), radius))
    centres = GRID.centres().astype(np.float64)
    nearest = np.clip(np.asarray(middle), centres - GRID.cell / 2, centres + GRID.cell / 2)
    distance = np.linalg.norm(nearest - middle, axis=-1)
    sure = np.abs(distance - radius) > 1e-5
    np.testing.assert_array_equal(found[sure], (distance <= radius)[sure])


@pytest.fixture(scope="module")
def town() -> Town:
    return Town(7, seconds=12.0)


def test_ground_voxels_are_those_with_a_point_below_the_surface(town: Town) -> None:
    grid = VoxelGrid((-8.0, -12.0, -1.0), (8.0, 12.0, 1.4), (40, 60, 6))
    pose = town.drive.odom_from_base(6.0)
    classes = town.occupancy(grid, pose, 6.0)
    corners = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 9)] * 3, indexing="ij"), -1).reshape(-1, 3) * grid.cell
    points = grid.centres().astype(np.float64)[..., None, :] + corners
    odom = points @ pose[:3, :3].T + pose[:3, 3]
    under = (odom[..., 2] < town.ground_height(odom[..., :2])).any(axis=-1)
    assert not (under & (classes == Label.FREE)).any()
    ground = np.isin(classes, GROUND_LABELS)
    assert (ground & ~under).mean() < 1e-3
    assert {int(Label.DRIVEABLE_SURFACE), int(Label.SIDEWALK)} <= set(np.unique(classes).tolist())


def test_above_ground_is_what_its_definition_says(town: Town) -> None:
    pose = town.drive.odom_from_base(3.0)
    low = OCC3D.centres().astype(np.float64) - [0.0, 0.0, 0.2]
    odom = low @ pose[:3, :3].T + pose[:3, 3]
    expected = odom[..., 2] - town.ground_height(odom[..., :2]) > 0.3
    found = town.above_ground(OCC3D, pose)
    assert (found != expected).mean() < 1e-4  # float32 centres decide a few otherwise
    assert 0.5 < found.mean() < 0.95


def look(yaw: float, height: float = 1.5) -> np.ndarray:
    return np.asarray(pose_from_rpy((0.0, 0.0, height), 0.0, 0.0, yaw) @ body_from_optical())


def test_a_wall_hides_what_is_behind_it() -> None:
    grid = VoxelGrid((-10.0, -10.0, -1.0), (10.0, 10.0, 5.4), (50, 50, 16))
    classes = np.full(grid.shape, int(Label.FREE), dtype=np.uint8)
    classes[37, :, :] = int(Label.MANMADE)  # x = 4.8 to 5.2
    model = CameraModel(160, 120, np.array([[100.0, 0, 79.5], [0, 100.0, 59.5], [0, 0, 1]]))
    depth = np.full((120, 160), 4.8, dtype=np.float32)
    mask = camera_mask(grid, classes, CameraRig(("a",), (model,), look(0.0)[None]), [depth])
    assert mask[37, 20:30, 3:8].all()
    assert not mask[38:].any()
    assert not mask[:25].any()
    assert mask[30, 25, 6]


def test_mask_agrees_with_slow_marching(town: Town) -> None:
    t = 4.0
    pose = town.drive.odom_from_base(t)
    model = CameraModel(96, 54, np.array([[70.0, 0, 47.5], [0, 70.0, 26.5], [0, 0, 1]]))
    mounts = np.stack([look(0.3), look(2.5, 1.9)])
    depths = [town.render(model, pose @ mount, t).depth for mount in mounts]
    classes = town.occupancy(OCC3D, pose, t)
    mask = camera_mask(OCC3D, classes, CameraRig(("a", "b"), (model, model), mounts), depths, stride=3)
    slow = np.zeros(OCC3D.shape, dtype=bool)
    for mount, depth in zip(mounts, depths, strict=True):
        rays = model.pixel_rays()[::3, ::3].reshape(-1, 3)
        reach = depth[::3, ::3].reshape(-1) / rays[:, 2]
        walking = np.ones(len(rays), dtype=bool)
        for length in np.arange(0.0, 70.0, 0.02):
            index, inside = OCC3D.index_of((rays * length) @ mount[:3, :3].T + mount[:3, 3])
            walking &= inside & (length <= reach)
            slow[tuple(index[walking].T)] = True
            walking &= classes[tuple(np.where(inside[:, None], index, 0).T)] == Label.FREE
    assert slow.sum() > 3000
    assert (slow & ~mask).sum() <= 0.001 * slow.sum()  # marching may end in a voxel that rounding puts next door
    assert (mask & ~slow).sum() <= 0.03 * slow.sum()  # corners that steps of 2 cm jump over
    occupied = mask & (classes != Label.FREE)
    assert 0.01 < occupied.sum() / mask.sum() < 0.5


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_rendered_points_fall_into_occupied_voxels(seed: int) -> None:
    town = Town(seed, seconds=12.0)
    t = 5.0
    pose = town.drive.odom_from_base(t)
    classes = town.occupancy(OCC3D, pose, t)
    model = CameraModel(192, 108, np.array([[110.0, 0, 95.5], [0, 110.0, 53.5], [0, 0, 1]]))
    for yaw in np.arange(6) * np.pi / 3:
        mount = look(float(yaw))
        view = town.render(model, pose @ mount, t)
        rays = model.pixel_rays()
        seen = np.isfinite(view.depth)
        points = (rays / rays[..., 2:])[seen] * view.depth[seen][:, None].astype(np.float64)
        index, inside = OCC3D.index_of(points @ mount[:3, :3].T + mount[:3, 3])
        there = classes[tuple(index[inside].T)]
        assert inside.sum() > 1000
        assert (there != Label.FREE).mean() >= 0.99
        assert (there == view.classes[seen][inside]).mean() > 0.8
