# SPDX-License-Identifier: Apache-2.0
"""Near and wide pairs on a textured wall whose distance is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_training.losses.pairs import pairs_loss
from selfocc_training.losses.ray_grid import RayGrid, ray_grid
from selfocc_training.views import Views

WIDTH, HEIGHT, FOCAL = 64, 48, 60.0
WALL = 6.0
DISTANCES = torch.tensor([2.0, 4.0, 6.0, 9.0, 15.0])


def texture(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Smooth colours on the wall, no repetition within the pictures: (..., 3)."""
    waves = [torch.sin(a * x + b * y + c) for a, b, c in ((2.1, 1.3, 0.0), (-1.7, 2.9, 1.0), (0.9, -2.3, 2.0))]
    return torch.stack(waves, dim=-1) * 0.25 + 0.5


def picture(offset: float) -> torch.Tensor:
    """What a camera at x = ``offset`` (optical frame = scene frame) sees of the wall z = WALL: (3, H, W)."""
    v, u = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")
    x, y = (u - 31.5) / FOCAL * WALL + offset, (v - 23.5) / FOCAL * WALL
    return texture(x, y).permute(2, 0, 1)


def rig(offset: float) -> RigTensors:
    pose = torch.eye(4)[None].clone()
    pose[0, 0, 3] = offset
    return RigTensors(torch.tensor([[FOCAL, FOCAL, 31.5, 23.5]]), torch.tensor([[float(WIDTH), HEIGHT]]), pose)


def wall_views(offsets: tuple[float, float] = (-0.6, 0.6)) -> tuple[Views, RayGrid, torch.Tensor]:
    views = Views(
        picture(0.0)[None], torch.stack([picture(o) for o in offsets])[None], rig(0.0), tuple(rig(o) for o in offsets)
    )
    grid = ray_grid((HEIGHT, WIDTH), 12, 16, torch.tensor([0.6, 0.6, 0.4, 0.5]))
    origins, directions, cosine = views.rigs.rays(grid.pixels[None])
    steps = DISTANCES / cosine.unsqueeze(-1)
    return views, grid, origins.unsqueeze(2) + directions.unsqueeze(2) * steps.unsqueeze(-1)


def loss_at(index: int, auto_mask: bool = False) -> float:
    views, grid, points = wall_views()
    weights = torch.zeros(1, grid.pixels.shape[0], len(DISTANCES))
    weights[..., index] = 1.0
    return pairs_loss(views, grid, weights, points, None, auto_mask).item()


def test_loss_is_least_at_the_true_distance() -> None:
    losses = [loss_at(i) for i in range(len(DISTANCES))]
    assert min(losses) == losses[2]
    assert losses[2] < 0.01
    assert losses[1] > 5 * losses[2]
    assert losses[3] > 5 * losses[2]


def test_gradient_moves_weight_to_the_true_distance() -> None:
    views, grid, points = wall_views()
    logits = torch.zeros(1, grid.pixels.shape[0], len(DISTANCES), requires_grad=True)
    pairs_loss(views, grid, torch.softmax(logits, -1), points, None, False).backward()
    assert logits.grad is not None
    assert logits.grad.mean(dim=(0, 1)).argmin() == 2


def test_light_that_passes_the_box_finds_the_best_place_beyond_it() -> None:
    views, grid, points = wall_views()
    rays = grid.pixels.shape[0]
    nothing = torch.zeros(1, rays, 2)
    left = torch.ones(1, rays)
    with_wall = pairs_loss(views, grid, nothing, points[:, :, :2], (left, points[:, :, 2:]), False)
    without = pairs_loss(views, grid, nothing, points[:, :, :2], (left, points[:, :, 3:]), False)
    assert with_wall < 0.01
    assert without > 5 * with_wall


def test_rays_that_leave_both_sources_do_not_count() -> None:
    views, grid, points = wall_views((-30.0, 30.0))
    weights = torch.zeros(1, grid.pixels.shape[0], len(DISTANCES)).index_fill(-1, torch.tensor(1), 1.0)
    assert pairs_loss(views, grid, weights, points, None, False) == 0.0


def test_auto_mask_leaves_out_what_does_not_move() -> None:
    views, grid, points = wall_views()
    still = Views(views.images, views.images[:, None].expand(-1, 2, -1, -1, -1), views.rigs, views.source_rigs)
    weights = torch.zeros(1, grid.pixels.shape[0], len(DISTANCES), requires_grad=True)
    share = torch.softmax(weights, -1)
    masked = pairs_loss(still, grid, share, points, None, True)
    unmasked = pairs_loss(still, grid, share, points, None, False)
    assert masked < 1e-4 < unmasked
    (gradient,) = torch.autograd.grad(masked, weights)
    assert gradient.abs().max() < 1e-6


def masked_views() -> tuple[Views, RayGrid, torch.Tensor]:
    """A bonnet in all pictures, and something that moves: elsewhere in each. Both sources make a wide pair too."""
    views, grid, points = wall_views()
    use = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    use[:, 40:] = False
    source_use = use[:, None].repeat(1, 2, 1, 1)
    use[:, 10:20, 20:33] = False
    source_use[:, 0, 12:22, 15:29] = False
    source_use[:, 1, 9:21, 24:40] = False
    return replace(views, use=use, source_use=source_use, pairs=((0, 1), (1, 0))), grid, points


def loss_and_gradient(
    views: Views, grid: RayGrid, points: torch.Tensor, auto_mask: bool, background: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    samples = points.shape[2] - 2 * background
    logits = torch.linspace(0.0, 1.0, grid.pixels.shape[0] * samples).reshape(1, -1, samples).requires_grad_()
    weights = torch.softmax(logits, dim=-1)
    beyond = None
    if background:
        weights = 0.7 * weights
        beyond = 1 - weights.sum(dim=-1), points[:, :, samples:]
    loss = pairs_loss(views, grid, weights, points[:, :, :samples], beyond, auto_mask)
    return loss, torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("auto_mask", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_masked_pixels_do_not_matter(auto_mask: bool, background: bool) -> None:
    views, grid, points = masked_views()
    assert views.use is not None
    assert views.source_use is not None
    spoiled = replace(
        views,
        images=torch.where(views.use[:, None], views.images, torch.nan),
        sources=torch.where(views.source_use[:, :, None], views.sources, torch.nan),
    )
    loss, gradient = loss_and_gradient(views, grid, points, auto_mask, background)
    again, same = loss_and_gradient(spoiled, grid, points, auto_mask, background)
    assert torch.equal(loss, again)
    assert torch.equal(gradient, same)
    u, v = grid.pixels.round().long().unbind(dim=-1)
    counts = views.use[0, v, u]
    assert (gradient[0, ~counts] == 0).all()
    assert gradient[0, counts].abs().max() > 0
    unmasked, _ = loss_and_gradient(replace(views, use=None, source_use=None), grid, points, auto_mask, background)
    assert not torch.isclose(loss, unmasked, rtol=1e-3)


@pytest.mark.parametrize("auto_mask", [False, True])
def test_masks_that_allow_everything_change_nothing(auto_mask: bool) -> None:
    views, grid, points = masked_views()
    assert views.use is not None
    assert views.source_use is not None
    everything = replace(views, use=torch.ones_like(views.use), source_use=torch.ones_like(views.source_use))
    found, gradient = loss_and_gradient(everything, grid, points, auto_mask)
    plain, plain_gradient = loss_and_gradient(replace(views, use=None, source_use=None), grid, points, auto_mask)
    assert torch.allclose(found, plain, rtol=1e-6)
    assert torch.allclose(gradient, plain_gradient, atol=1e-7)


@pytest.mark.parametrize("auto_mask", [False, True])
@pytest.mark.parametrize("name", ["use", "source_use"])
def test_nothing_left_to_compare_is_no_loss(auto_mask: bool, name: str) -> None:
    views, grid, points = masked_views()
    nothing = replace(views, **{name: torch.zeros_like(getattr(views, name))})
    loss, gradient = loss_and_gradient(nothing, grid, points, auto_mask)
    assert loss == 0
    assert (gradient == 0).all()


def test_rays_that_a_mask_leaves_empty_do_not_darken_their_neighbours() -> None:
    views, grid, points = masked_views()
    source_use = torch.ones(1, 2, HEIGHT, WIDTH, dtype=torch.bool)
    source_use[..., 16:32, :] = False
    masked = replace(views, use=None, source_use=source_use)
    weights = torch.ones(1, grid.pixels.shape[0], 1)
    assert pairs_loss(masked, grid, weights, points[:, :, 2:3], None, False) < 0.01
