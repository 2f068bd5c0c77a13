# SPDX-License-Identifier: Apache-2.0
"""Photometric terms on a textured wall whose distance is known."""

from __future__ import annotations

import math

import torch

from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_training.photometric import (
    RayGrid,
    Views,
    colour_error,
    dissimilarity,
    ray_grid,
    reprojection_loss,
    sample_images,
)

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
    return reprojection_loss(views, grid, weights, points, None, auto_mask).item()


def test_loss_is_least_at_the_true_distance() -> None:
    losses = [loss_at(i) for i in range(len(DISTANCES))]
    assert min(losses) == losses[2]
    assert losses[2] < 0.01
    assert losses[1] > 5 * losses[2]
    assert losses[3] > 5 * losses[2]


def test_gradient_moves_weight_to_the_true_distance() -> None:
    views, grid, points = wall_views()
    logits = torch.zeros(1, grid.pixels.shape[0], len(DISTANCES), requires_grad=True)
    reprojection_loss(views, grid, torch.softmax(logits, -1), points, None, False).backward()
    assert logits.grad is not None
    assert logits.grad.mean(dim=(0, 1)).argmin() == 2


def test_light_that_passes_the_box_finds_the_best_place_beyond_it() -> None:
    views, grid, points = wall_views()
    rays = grid.pixels.shape[0]
    nothing = torch.zeros(1, rays, 2)
    left = torch.ones(1, rays)
    with_wall = reprojection_loss(views, grid, nothing, points[:, :, :2], (left, points[:, :, 2:]), False)
    without = reprojection_loss(views, grid, nothing, points[:, :, :2], (left, points[:, :, 3:]), False)
    assert with_wall < 0.01
    assert without > 5 * with_wall


def test_rays_that_leave_both_sources_do_not_count() -> None:
    views, grid, points = wall_views((-30.0, 30.0))
    weights = torch.zeros(1, grid.pixels.shape[0], len(DISTANCES)).index_fill(-1, torch.tensor(1), 1.0)
    assert reprojection_loss(views, grid, weights, points, None, False) == 0.0


def test_auto_mask_leaves_out_what_does_not_move() -> None:
    views, grid, points = wall_views()
    still = Views(views.images, views.images[:, None].expand(-1, 2, -1, -1, -1), views.rigs, views.source_rigs)
    weights = torch.zeros(1, grid.pixels.shape[0], len(DISTANCES), requires_grad=True)
    share = torch.softmax(weights, -1)
    masked = reprojection_loss(still, grid, share, points, None, True)
    unmasked = reprojection_loss(still, grid, share, points, None, False)
    assert masked < 1e-4 < unmasked
    (gradient,) = torch.autograd.grad(masked, weights)
    assert gradient.abs().max() < 1e-6


def test_ssim_of_equal_and_opposite_pictures() -> None:
    grid = RayGrid(torch.zeros(64, 2), 8, 8)
    colours = torch.rand(2, 64, 3, generator=torch.Generator().manual_seed(0))
    assert dissimilarity(colours, colours, grid).abs().max() < 1e-5
    assert dissimilarity(colours, 1 - colours, grid).mean() > 0.8
    assert torch.allclose(colour_error(colours, colours, grid), torch.zeros(2, 64), atol=1e-5)


def test_pixel_centres_are_integers() -> None:
    image = torch.arange(12.0).reshape(1, 1, 3, 4).expand(1, 3, 3, 4)
    values = sample_images(image, torch.tensor([[[0.0, 0.0], [3.0, 2.0], [1.5, 1.0]]]))
    assert torch.allclose(values[0, :, 0], torch.tensor([0.0, 11.0, 5.5]), atol=1e-5)


def test_ray_grid_stays_in_the_image_and_fills_it_at_full_stride() -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        pixels = ray_grid((144, 256), 18, 32, torch.rand(4, generator=generator)).pixels
        assert (pixels >= 0).all()
        assert (pixels[:, 0] <= 255).all()
        assert (pixels[:, 1] <= 143).all()
    full = ray_grid((144, 256), 18, 32, torch.ones(4)).pixels
    assert math.isclose(float(full[1, 0] - full[0, 0]), 8.0)
