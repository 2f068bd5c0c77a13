# SPDX-License-Identifier: Apache-2.0
"""Rays against marching in tiny steps, and RayIoU of worlds where it is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_training.metrics.occ3d import CLASSES_15, FREE_CLASS
from selfocc_training.metrics.raycast import first_hits
from selfocc_training.metrics.rayiou import RayCaster, RayScore, choose_origins, ray_directions, score_rays

SHAPE = (9, 7, 5)
FREE = FREE_CLASS


def march(labels: Tensor, origin: Tensor, direction: Tensor, step: float = 1e-3) -> tuple[int, float]:
    """The same by looking every ``step`` cells."""
    points = origin + direction * (torch.arange(0, 14 / step, dtype=torch.float64) * step).unsqueeze(1)
    cells = points.floor().long()
    inside = ((cells >= 0) & (cells < torch.tensor(labels.shape))).all(dim=1)
    end = int((~inside).nonzero()[0])
    cells = cells[:end]
    found = labels[cells[:, 0], cells[:, 1], cells[:, 2]]
    solid = (found != FREE).nonzero().flatten()
    if not len(solid):
        return FREE, end * step
    first = int(solid[0])
    leaves = ((cells != cells[first]).any(dim=1) & (torch.arange(end) > first)).nonzero().flatten()
    return int(found[first]), (int(leaves[0]) if len(leaves) else end) * step


def test_rays_agree_with_marching() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.where(torch.rand(SHAPE, generator=generator) < 0.06, 4, FREE).to(torch.uint8)
    origins = torch.rand(150, 3, generator=generator, dtype=torch.float64) * torch.tensor(SHAPE)
    directions = torch.randn(150, 3, generator=generator, dtype=torch.float64)
    directions[:30, 0] = 0.0  # within a plane, and along an axis
    directions[:15, 1] = 0.0
    directions /= directions.norm(dim=1, keepdim=True)
    hits, distances = first_hits(labels, origins, directions, FREE)
    marched = [march(labels, o, d) for o, d in zip(origins, directions, strict=True)]
    assert hits.tolist() == [label for label, _ in marched]
    expected = torch.tensor([distance for _, distance in marched], dtype=torch.float64)
    torch.testing.assert_close(distances, expected, rtol=0, atol=2e-3)
    assert 20 < int((hits == FREE).sum()) < 130


def test_ties_are_crossed_z_then_y_then_x() -> None:
    """From the centre of a cell along a diagonal all faces are met at once."""
    origin, diagonal = torch.full((1, 3), 1.5), torch.ones(1, 3)
    for crossed, later in (((1, 1, 2), (1, 2, 1)), ((1, 2, 2), (2, 2, 1)), ((2, 2, 2), (2, 1, 1))):
        labels = torch.full((4, 4, 4), FREE, dtype=torch.uint8)
        labels[crossed], labels[later] = 3, 9
        assert first_hits(labels, origin, diagonal, FREE)[0].item() == 3


def test_the_voxel_of_the_origin_counts() -> None:
    labels = torch.full((4, 4, 4), 2, dtype=torch.uint8)
    hit, distance = first_hits(labels, torch.tensor([[1.25, 1.5, 1.5]]), torch.tensor([[-1.0, 0, 0]]), FREE)
    assert (hit.item(), distance.item()) == (2, 0.25)


def test_bad_rays_are_refused() -> None:
    labels = torch.full((4, 4, 4), FREE, dtype=torch.uint8)
    inside, along = torch.full((1, 3), 1.5), torch.tensor([[1.0, 0, 0]])
    for outside in (-0.1, 4.0, float("nan")):
        with pytest.raises(ValueError, match="inside the grid"):
            first_hits(labels, torch.tensor([[1.5, outside, 1.5]]), along, FREE)
    for bad in (0.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="direction"):
            first_hits(labels, inside, along * bad, FREE)


@pytest.mark.gpu
def test_a_gpu_finds_the_same_hits() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.where(torch.rand(40, 40, 16, generator=generator) < 0.03, 4, FREE).to(torch.uint8)
    origins, directions = torch.full((5000, 3), 8.3), torch.randn(5000, 3, generator=generator)
    hits, distances = first_hits(labels, origins, directions, FREE)
    on_gpu = first_hits(labels.cuda(), origins, directions, FREE)
    assert torch.equal(on_gpu[0].cpu(), hits)
    torch.testing.assert_close(on_gpu[1].cpu(), distances)


def wall(at: int, label: int = 15) -> np.ndarray:
    labels = np.full((200, 200, 16), FREE)
    labels[at, :, :] = label
    return labels


def test_depth_must_agree() -> None:
    """A wall predicted 1.6 m too far is right from 2 m on, along rays that meet it at right angles."""
    caster = RayCaster(np.array([[0.0, 0.1, 1.0]]), np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]))
    score = score_rays(wall(124), wall(120), caster)
    assert [score.at(t) for t in (1.0, 2.0, 4.0)] == [0.0, 1.0, 1.0]
    assert score.mean() == pytest.approx(2 / 3)
    assert score_rays(wall(120), wall(120), caster).mean() == 1.0
    assert score_rays(wall(120, 16), wall(120), caster).mean() == 0.0
    assert np.isnan(RayScore().mean())
    labels, depths = caster.cast(wall(120))
    assert labels.tolist() == [[15, FREE]]
    np.testing.assert_allclose(depths, [[8.4, 40.0]], rtol=1e-6)


def test_only_rays_that_truly_hit_count() -> None:
    """A false alarm in the open is no error of RayIoU, and others are no class of the 15."""
    caster = RayCaster(np.array([[0.0, 0.1, 1.0]]), np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]))
    alarm = wall(120, 0)
    alarm[50] = 4
    score = score_rays(alarm, wall(120, 0), caster)
    assert score.mean() == 1.0
    assert np.isnan(score.mean(CLASSES_15))
    assert score.predicted.sum() == score.true.sum() == 1


def test_rays_of_the_definition() -> None:
    directions = ray_directions()
    assert directions.shape == (14040, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0, rtol=1e-6)
    pitch = np.rad2deg(np.arcsin(directions[::360, 2].astype(np.float64)))
    assert pitch[0] == pytest.approx(-45.0, abs=1e-4)
    assert pitch[9] == pytest.approx(-5.7106, abs=1e-4)
    np.testing.assert_allclose(np.diff(pitch)[9:], np.diff(pitch)[8], rtol=1e-4)


def test_origins_are_spread_over_time() -> None:
    positions = np.stack([np.linspace(-60, 60, 61), np.zeros(61), np.ones(61)], axis=1)
    origins = choose_origins(positions)
    np.testing.assert_allclose(origins[:, 0], [-38, -28, -16, -6, 6, 16, 28, 38])
    assert len(choose_origins(positions[28:32])) == 4


def test_a_caster_refuses_other_grids() -> None:
    with pytest.raises(ValueError, match="cubic"):
        RayCaster(np.zeros((1, 3)), grid=VoxelGrid((-1, -1, -1), (1, 1, 2), (4, 4, 4)))
    with pytest.raises(ValueError, match="shape"):
        RayCaster(np.zeros((1, 3))).cast(np.zeros((4, 4, 4), np.uint8))
