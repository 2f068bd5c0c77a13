# SPDX-License-Identifier: Apache-2.0
"""Smoothness of depth where the picture is smooth."""

from __future__ import annotations

import torch
from torch import Tensor

from selfocc_training.losses.lookup import PixelConvention, sample_colours, sample_mask, unit_colours
from selfocc_training.losses.masks import masked_mean
from selfocc_training.losses.ray_grid import RayGrid


def edge_loss(
    depths: Tensor,
    images: Tensor,
    grid: RayGrid,
    *,
    convention: PixelConvention = "selfocc",
    use: Tensor | None = None,
) -> Tensor:
    """First differences of mean-normalised depth, times exp(-contrast) (Godard et al. 2019, eq. 3, there of disparity).

    Args:
        depths: (N, R) rendered on the ray grid, metres; each view is divided by its mean.
        images: (N, 3, H, W) 0..1 or uint8.
        convention: where pixels lie on the images, see ``losses.lookup``.
        use: (N, H, W) bool; a difference counts where both of its rays do, and the mean is that of used rays.

    Returns:
        scalar, the means along u and along v added.
    """
    views = images.shape[0]
    rays = grid.pixels.expand(views, -1, -1)
    picture = sample_colours(unit_colours(images), rays, convention, use).reshape(views, grid.height, grid.width, 3)
    if use is None:
        counts = torch.ones_like(depths, dtype=torch.bool)
    else:
        counts = sample_mask(use, rays, convention)
    used = torch.where(counts, depths, 0.0)
    mean = used.sum(dim=1, keepdim=True) / counts.sum(dim=1, keepdim=True).clamp(min=1)
    plane = (used / (mean + 1e-6)).reshape(views, grid.height, grid.width)
    counts = counts.reshape_as(plane)
    total = depths.new_zeros(())
    for axis, size in ((1, grid.height), (2, grid.width)):
        contrast = picture.diff(dim=axis).abs().mean(dim=-1)
        pairs = counts.narrow(axis, 1, size - 1) & counts.narrow(axis, 0, size - 1)
        total = total + masked_mean(plane.diff(dim=axis).abs() * torch.exp(-contrast), pairs)
    return total
