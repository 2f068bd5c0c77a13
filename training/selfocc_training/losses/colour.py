# SPDX-License-Identifier: Apache-2.0
"""Loss on rendered colour (SelfOcc, Huang et al. 2024)."""

from __future__ import annotations

from torch import Tensor

from selfocc_training.losses.lookup import PixelConvention, sample_colours, sample_mask, unit_colours
from selfocc_training.losses.masks import masked_mean
from selfocc_training.losses.ray_grid import RayGrid
from selfocc_training.losses.similarity import colour_error


def colour_loss(
    colours: Tensor,
    images: Tensor,
    grid: RayGrid,
    *,
    ssim: bool = True,
    convention: PixelConvention = "selfocc",
    use: Tensor | None = None,
) -> Tensor:
    """Mean over rays of 0.15 L1 + 0.85 (1 - SSIM) / 2 between rendered colours and the image, or of L1 alone.

    Args:
        colours: (N, R, 3) rendered, in the image's order of channels.
        images: (N, 3, H, W) 0..1 or uint8.
        convention: where pixels lie on the images, see ``losses.lookup``.
        use: (N, H, W) bool, pixels that count.
    """
    rays = grid.pixels.expand(images.shape[0], -1, -1)
    target = sample_colours(unit_colours(images), rays, convention, use)
    counts = None if use is None else sample_mask(use, rays, convention)
    return masked_mean(colour_error(colours, target, grid, ssim, counts), counts)
