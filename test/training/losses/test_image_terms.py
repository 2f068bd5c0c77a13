# SPDX-License-Identifier: Apache-2.0
"""Rendered colour and edge-aware depth: agreement with the unmasked terms, and masks that hold."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from selfocc_training.losses.colour import colour_loss
from selfocc_training.losses.lookup import sample_mask
from selfocc_training.losses.ray_grid import RayGrid, ray_grid
from selfocc_training.losses.similarity import colour_error, dissimilarity
from selfocc_training.losses.smoothness import edge_loss

GRID = ray_grid((24, 32), 8, 10, torch.tensor([0.7, 0.7, 0.5, 0.5]))
RAYS = GRID.pixels.expand(2, -1, -1)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def some_use() -> Tensor:
    use = torch.ones(2, 24, 32, dtype=torch.bool)
    use[0, 6:14, 8:20] = use[1, 15:] = False
    return use


def rgb(values: Tensor, images: Tensor, use: Tensor | None) -> Tensor:
    return colour_loss(
        values.unsqueeze(-1) * torch.tensor([1.0, 0.5, 0.2]), images, GRID, convention="centres", use=use
    )


def plain_l1(values: Tensor, images: Tensor, use: Tensor | None) -> Tensor:
    return colour_loss(values.unsqueeze(-1).expand(-1, -1, 3), images, GRID, ssim=False, convention="centres", use=use)


def edge(values: Tensor, images: Tensor, use: Tensor | None) -> Tensor:
    return edge_loss(values, images, GRID, convention="centres", use=use)


Term = Callable[[Tensor, Tensor, Tensor | None], Tensor]
TERMS = pytest.mark.parametrize("term", [rgb, plain_l1, edge])


@TERMS
def test_masked_pixels_and_rays_do_not_matter(term: Term) -> None:
    images, use = rand(2, 3, 24, 32), some_use()
    counts = sample_mask(use, RAYS, "centres")
    values = (0.5 + rand(2, 80, seed=1)).requires_grad_()
    loss = term(values, images, use)
    (gradient,) = torch.autograd.grad(loss, values)
    assert (gradient[~counts] == 0).all()
    assert gradient[counts].abs().max() > 0
    spoiled = torch.where(counts, values.detach(), torch.nan).requires_grad_()
    again = term(spoiled, torch.where(use[:, None], images, torch.nan), use)
    assert torch.equal(again, loss)
    assert torch.equal(torch.autograd.grad(again, spoiled)[0], gradient)


@TERMS
def test_empty_and_full_masks(term: Term) -> None:
    images, full = rand(2, 3, 24, 32), torch.ones(2, 24, 32, dtype=torch.bool)
    values = (0.5 + rand(2, 80, seed=1)).requires_grad_()
    assert torch.allclose(term(values, images, full), term(values, images, None), rtol=1e-6)
    nothing = term(values, images, ~full)
    assert nothing == 0
    assert (torch.autograd.grad(nothing, values)[0] == 0).all()


def test_a_step_costs_less_where_the_picture_has_an_edge() -> None:
    # One ray per pixel of a picture 8 wide and 6 high.
    grid = ray_grid((6, 8), 6, 8, torch.ones(4))
    depth = torch.ones(1, 6, 8)
    depth[..., 4:] = 3.0
    at_step, elsewhere = torch.zeros(1, 3, 6, 8), torch.zeros(1, 3, 6, 8)
    at_step[..., 4:], elsewhere[..., 6:] = 1.0, 1.0
    losses = [edge_loss(depth.reshape(1, 48), image, grid, convention="centres") for image in (at_step, elsewhere)]
    # One step of 2 / mean 2 in 7 gaps of each row; the edge of contrast 1 takes it down by e.
    assert torch.isclose(losses[1], torch.tensor(1.0 / 7.0), atol=1e-5)
    assert torch.isclose(losses[0], torch.exp(torch.tensor(-1.0)) / 7.0, atol=1e-5)
    assert edge_loss(torch.full((1, 48), 7.0), at_step, grid, convention="centres") == 0.0


def test_edge_under_a_mask_is_that_of_the_rays_that_are_left() -> None:
    images, depths = rand(2, 3, 24, 32), 0.5 + rand(2, 80, seed=1)
    left = RayGrid(GRID.pixels.reshape(8, 10, 2)[:, 2:8].reshape(-1, 2), 8, 6)
    use = torch.ones(2, 24, 32, dtype=torch.bool)
    use[..., : math.floor(left.pixels[0, 0])] = False
    use[..., math.ceil(left.pixels[-1, 0]) + 1 :] = False
    expected = edge_loss(depths.reshape(2, 8, 10)[..., 2:8].reshape(2, -1), images, left, convention="centres")
    assert torch.allclose(edge(depths, images, use), expected, rtol=1e-5)


def test_ssim_of_equal_and_opposite_pictures() -> None:
    colours = rand(2, 80, 3)
    assert dissimilarity(colours, colours, GRID).abs().max() < 1e-5
    assert dissimilarity(colours, 1 - colours, GRID).mean() > 0.8
    assert torch.allclose(colour_error(colours, colours, GRID), torch.zeros(2, 80), atol=1e-5)
    assert torch.allclose(colour_error(colours, colours + 0.1, GRID, ssim=False), torch.full((2, 80), 0.1))


def test_equal_pictures_are_equal_beside_a_mask() -> None:
    a = rand(2, 80, 3)
    counts = sample_mask(some_use(), RAYS, "centres")
    b = torch.where(counts.unsqueeze(-1), a, 1 - a)
    assert dissimilarity(a, b, GRID).max() > 0.1
    assert dissimilarity(a, b, GRID, counts)[counts].max() < 1e-5
