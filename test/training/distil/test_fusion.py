# SPDX-License-Identifier: Apache-2.0
"""Fused volumes: exact where viewpoints agree, nearer to what the near ones say, spread where they do not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from selfocc_ros.configuration import ConfigError
from selfocc_ros.geometry.poses import pose_from_rpy
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.model.config import DecisionConfig
from selfocc_ros.model.selfocc import decide
from selfocc_training.distil.config import FusionConfig
from selfocc_training.distil.fusion import Viewpoint, fuse
from selfocc_training.distil.labels import FREE, OCCUPIED, UNKNOWN, voxel_labels

GRID = VoxelGrid((-4, -4, -1), (4, 4, 2), (20, 20, 6))
NODES = (21, 21, 7)
CONFIG = FusionConfig()
RULE = DecisionConfig()


def corners() -> NDArray[np.float64]:
    axes = [np.linspace(a, b, n) for a, b, n in zip(GRID.lower, GRID.upper, NODES, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def viewpoint(
    distances: torch.Tensor, pose: NDArray[np.float64] | None = None, seen: NDArray[np.bool_] | None = None
) -> Viewpoint:
    seen = np.ones(GRID.shape, np.bool_) if seen is None else seen
    return Viewpoint.of(distances, seen, np.eye(4) if pose is None else pose, 0.0, CONFIG.clamp_m)


def labels_of(views: list[Viewpoint], own: int = 0, rule: DecisionConfig = RULE, **changes: float) -> NDArray[np.uint8]:
    """Labels of the frame that ``views`` have in common, which is that of the viewpoint ``own``."""
    config = dataclasses.replace(CONFIG, **changes)
    return voxel_labels(fuse(np.eye(4), views, GRID, config), views[own].distances, GRID, rule, config)


def wall(pose: NDArray[np.float64]) -> torch.Tensor:
    """Distance from a wall that cuts the world aslant, in the frame of ``pose``."""
    normal = np.array([0.8, 0.56, np.sqrt(1 - 0.8**2 - 0.56**2)])
    world = corners() @ pose[:3, :3].T + pose[:3, 3]
    return torch.as_tensor(world @ normal - 0.3, dtype=torch.float32)


def test_one_viewpoint_is_itself_clamped() -> None:
    distances = torch.randn(NODES, generator=torch.Generator().manual_seed(1)) * 2
    fused = fuse(np.eye(4), [viewpoint(distances)], GRID, CONFIG)
    torch.testing.assert_close(fused.distances, distances.clamp(-1.2, 1.2), atol=2e-3, rtol=0)
    assert fused.spread.max() < 2e-3
    assert fused.seen.min() > 0.99


def test_viewpoints_of_one_world_agree_in_any_frame() -> None:
    poses = [pose_from_rpy((0.9 * k, 0.3, 0.1 * k), 0.03 * k, -0.02, 0.4 * k) for k in range(-1, 2)]
    target = pose_from_rpy((0.4, -0.2, 0.05), 0.02, 0.01, 0.3)
    fused = fuse(target, [viewpoint(wall(pose), pose) for pose in poses], GRID, CONFIG)
    true = wall(target).clamp(-1.2, 1.2)
    # Clamped fields are bent at the clamp, where interpolation cuts the corner. Beyond the rim of a viewpoint's box
    # its last corner counts for another cell.
    inner = (fused.seen > 0.99) & (true.abs() < 0.4)
    assert inner.float().mean() > 0.05
    errors = (fused.distances - true)[inner].abs()
    assert errors.median() < 1e-3
    assert errors.max() < 0.05
    assert fused.spread[inner].median() < 1e-3


def test_the_near_viewpoint_is_trusted() -> None:
    free, solid = torch.full(NODES, 1.0), torch.full(NODES, -1.0)
    behind, ahead = pose_from_rpy((-1, 0, 0), 0, 0, 0), pose_from_rpy((2, 0, 0), 0, 0, 0)
    fused = fuse(np.eye(4), [viewpoint(free, behind), viewpoint(solid, ahead)], GRID, CONFIG)
    x, y = corners()[15, 4, 0, :2]
    weights = [np.exp(-np.hypot(x - at, y) / CONFIG.decay_m) for at in (-1, 2)]
    mean = (weights[0] - weights[1]) / sum(weights)
    assert fused.distances[15, 4, 3].item() == pytest.approx(mean, abs=1e-3)
    assert fused.spread[15, 4, 3].item() == pytest.approx(np.sqrt(1 - mean**2), abs=1e-3)


def test_what_is_seen_counts_and_what_nobody_saw_is_unknown() -> None:
    left = np.zeros(GRID.shape, np.bool_)
    left[:, 10:] = True
    neither = left.copy()
    neither[:, :4] = True
    views = [viewpoint(torch.full(NODES, 1.0), seen=left), viewpoint(torch.full(NODES, -1.0), seen=~neither)]
    labels = labels_of(views)
    assert (labels[:, 11:] == FREE).all()
    assert (labels[:, 5:8] == OCCUPIED).all()
    assert (labels[:, :3] == UNKNOWN).all()


def test_where_viewpoints_disagree_is_unknown() -> None:
    solid, empty = torch.full(NODES, -1.0), torch.full(NODES, 1.0)
    doubtful = empty.clone()
    doubtful[:8] = -1.0
    labels = labels_of([viewpoint(empty), viewpoint(doubtful)], disagreement_m=0.5, trust_m=0.0)
    assert (labels[:7] == UNKNOWN).all()
    assert (labels[9:] == FREE).all()
    assert (labels_of([viewpoint(solid), viewpoint(solid)]) == OCCUPIED).all()


def test_what_stands_there_at_its_own_moment_alone_is_not_called_free() -> None:
    empty, car = torch.full(NODES, 1.0), torch.full(NODES, 1.0)
    car[12:16, 9:12, 2:5] = -0.6
    views = [viewpoint(car), *[viewpoint(empty)] * 9]
    inside = (slice(12, 15), slice(9, 11), slice(2, 4))
    assert (labels_of(views, disagreement_m=0.6, trust_m=0.0)[inside] == FREE).all()
    assert (labels_of(views, disagreement_m=0.6)[inside] == UNKNOWN).all()
    # At other moments the place is free, and what only passed by does not matter.
    assert (labels_of(views, own=1, disagreement_m=0.6)[inside] == FREE).all()
    assert (labels_of(views, disagreement_m=0.6, trust_m=0.5)[inside] == FREE).all()


def test_labels_follow_the_rule_of_the_network() -> None:
    distances = torch.randn(NODES, generator=torch.Generator().manual_seed(2)) * 0.3
    rule = DecisionConfig((-0.2, -0.1, 0.0, 0.1, 0.2, 0.3), 0.7)
    labels = labels_of([viewpoint(distances)], rule=rule)
    decided = decide(distances, rule)
    sure = decided.abs().numpy() > 2e-3
    assert ((labels == OCCUPIED) == (decided < 0).numpy())[sure].all()
    with pytest.raises(ConfigError, match=r"clamp_m must be above 0\.2"):
        labels_of([viewpoint(distances)], rule=rule, clamp_m=0.15)


def test_a_mirrored_drive_has_mirrored_labels() -> None:
    mirror = np.diag([1.0, -1.0, 1.0, 1.0])
    generator = torch.Generator().manual_seed(3)
    fields = [torch.randn(NODES, generator=generator) for _ in range(2)]
    poses = [pose_from_rpy((0.7 * k, 0.2, 0.0), 0.01, 0.02, 0.1 * k) for k in range(2)]
    plain = fuse(poses[1], [viewpoint(f, p) for f, p in zip(fields, poses, strict=True)], GRID, CONFIG)
    turned = [mirror @ pose @ mirror for pose in poses]
    views = [viewpoint(f.flip(1), p) for f, p in zip(fields, turned, strict=True)]
    torch.testing.assert_close(
        fuse(turned[1], views, GRID, CONFIG).distances.flip(1), plain.distances, atol=1e-4, rtol=0
    )


def test_beyond_all_boxes_nothing_is_known() -> None:
    far = viewpoint(torch.full(NODES, -1.0), pose_from_rpy((30, 0, 0), 0, 0, 0))
    fused = fuse(np.eye(4), [far], GRID, CONFIG)
    assert torch.isfinite(fused.distances).all()
    assert (voxel_labels(fused, far.distances, GRID, RULE, CONFIG) == UNKNOWN).all()


@pytest.mark.parametrize("wrong", [{"decay_m": 0.0}, {"clamp_m": -1.0}, {"reach_m": -1.0}, {"disagreement_m": 0.0}])
def test_wrong_parameters_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FusionConfig(**wrong)
    with pytest.raises(ValueError, match="viewpoint"):
        fuse(np.eye(4), [], GRID, CONFIG)
