# SPDX-License-Identifier: Apache-2.0
"""Scores of town drives against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import pose_from_rpy
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_training.metrics.occ3d import FREE_CLASS
from selfocc_training.metrics.town import (
    FLAT_GROUND_FAR_M,
    RINGS_M,
    Counts,
    DepthScore,
    OccupancyScore,
    choose_flat_ground,
    count,
    flat_ground_depth,
    flat_ground_occupancy,
    score_depth,
    score_occupancy,
)

GRID = VoxelGrid((-40.0, -2.0, -1.0), (40.0, 2.0, 1.0), (40, 2, 5))
OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def _bools(*indices: tuple[int, int, int]) -> np.ndarray:
    out = np.zeros(GRID.shape, bool)
    for index in indices:
        out[index] = True
    return out


def test_counts_by_hand() -> None:
    predicted = _bools((0, 0, 0), (1, 0, 0), (2, 0, 0), (9, 1, 4))
    true = _bools((1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0), (8, 1, 4))
    where = np.zeros(GRID.shape, bool)
    where[:6, 0, 0] = True
    counts = count(predicted, true, where)
    assert counts == Counts(hits=2, false=1, missed=2)
    assert counts.iou == pytest.approx(2 / 5)
    assert counts.precision == pytest.approx(2 / 3)
    assert counts.recall == pytest.approx(2 / 4)
    assert counts + Counts(1, 0, 0) == Counts(3, 1, 2)
    assert math.isnan(Counts().iou)


def test_occupancy_by_hand() -> None:
    above = np.zeros(GRID.shape, bool)
    above[:, :, 3:] = True
    mask = np.ones(GRID.shape, bool)
    mask[:, 1] = False
    # cells are 2 m long: index 20 is centred at x = 1, y = -1; index 26 at x = 13; index 39 at x = 39
    true = _bools((20, 0, 2), (20, 0, 3), (26, 0, 3), (39, 0, 4), (5, 1, 3))
    predicted = _bools((20, 0, 2), (20, 0, 3), (27, 0, 3), (39, 0, 4), (6, 1, 3))
    score = score_occupancy(GRID, predicted, true, mask, above)
    assert score.all == Counts(hits=3, false=1, missed=1)
    assert score.above == Counts(hits=2, false=1, missed=1)
    assert len(score.rings) == len(RINGS_M) - 1
    assert score.rings == (Counts(1, 0, 0), Counts(0, 1, 1), Counts(), Counts(1, 0, 0))
    assert (score + score).above == Counts(4, 2, 2)
    assert OccupancyScore() + score == score


def test_depth_by_hand() -> None:
    true = np.array([[10.0, 20.0, 25.0, np.inf], [5.0, 4.0, 8.0, 24.0]], np.float32)
    predicted = np.array([[11.0, 10.0, 1.0, 1.0], [np.inf, 4.0, np.nan, -3.0]], np.float32)
    classes = np.array([[11, 15, 15, FREE_CLASS], [4, 13, 14, 7]], np.uint8)
    score = score_depth(predicted, true, classes)
    # 25 m and the sky are not scored; what is not finite counts as 80 m, and -3 m as 0.1 m
    ground = [1 / 10, 0.0, 72 / 8]
    standing = [10 / 20, 75 / 5, 23.9 / 24]
    assert score.all.count == 6
    assert score.all.mean == pytest.approx(sum(ground + standing) / 6, rel=1e-6)
    assert score.above.count == 3
    assert score.above.mean == pytest.approx(sum(standing) / 3, rel=1e-6)
    both = score + DepthScore()
    assert both == score


def test_flat_ground_depth_of_a_level_camera() -> None:
    """At height h, a pixel v rows below the principal point sees the ground at z = f h / v."""
    camera = CameraModel(41, 41, np.array([[20.0, 0, 20], [0, 20.0, 20], [0, 0, 1]]))
    level = pose_from_rpy((1.0, 2.0, 1.5), 0, 0, 0.7) @ OPTICAL
    depth = flat_ground_depth(camera, level)
    assert depth.shape == (41, 41)
    for row in (24, 30, 40):
        np.testing.assert_allclose(depth[row], 20 * 1.5 / (row - 20), rtol=1e-5)
    np.testing.assert_array_equal(depth[:21], FLAT_GROUND_FAR_M)  # the horizon and all above
    np.testing.assert_array_equal(depth[21:23], FLAT_GROUND_FAR_M)  # 30 and 15 m
    np.testing.assert_array_equal(flat_ground_depth(camera, level, stride=3), depth[::3, ::3])
    np.testing.assert_allclose(flat_ground_depth(camera, level, ground_z=0.5)[40], 20 * 1.0 / 20, rtol=1e-5)


def test_flat_ground_depth_looking_down() -> None:
    camera = CameraModel(3, 3, np.array([[20.0, 0, 1], [0, 20.0, 1], [0, 0, 1]]))
    down = pose_from_rpy((0, 0, 2.0), 0, np.pi / 2, 0) @ OPTICAL
    np.testing.assert_allclose(flat_ground_depth(camera, down), 2.0, rtol=1e-6)


def test_the_best_layers_are_painted() -> None:
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(3):
        true = np.zeros(GRID.shape, bool)
        true[:, :, 1] = rng.random((40, 2)) < 0.95
        true[:, :, 2] = rng.random((40, 2)) < 0.8
        true[:, :, 3:] = rng.random((40, 2, 2)) < 0.1
        mask = np.ones(GRID.shape, bool)
        mask[:, :, 0] = False
        samples.append((true, mask))
    chosen = choose_flat_ground(GRID, samples)
    assert chosen == (1, 2)  # layer 0 is never seen: it neither helps nor harms
    painted = flat_ground_occupancy(GRID, chosen)
    best = sum((count(painted, t, m) for t, m in samples), Counts())
    for other in ((1,), (2,), (1, 2, 3), (0, 1, 2, 3, 4)):
        rival = sum((count(flat_ground_occupancy(GRID, other), t, m) for t, m in samples), Counts())
        assert rival.iou < best.iou
