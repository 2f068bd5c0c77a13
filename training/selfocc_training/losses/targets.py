# SPDX-License-Identifier: Apache-2.0
"""What a reprojection loss has to explain: the target's rays, and how well sources do that unmoved (auto-mask)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfocc_training.losses.lookup import PixelConvention, sample_colours, sample_mask
from selfocc_training.losses.masks import combine_masks
from selfocc_training.losses.ray_grid import RayGrid
from selfocc_training.losses.similarity import colour_error

INVALID = 1e3
"""Error of what cannot be compared with anything, above all errors that can."""


@dataclass(frozen=True)
class Targets:
    """Rays of N target images.

    Attributes:
        grid: the rays.
        pixels: (N, R, 2) u, v.
        colours: (N, R, 3) 0..1 of the target images.
        use: (N, R) bool, rays that count; None: all.
        convention: where pixels lie on images, see ``losses.lookup``.
    """

    grid: RayGrid
    pixels: Tensor
    colours: Tensor
    use: Tensor | None
    convention: PixelConvention

    @classmethod
    def of(cls, images: Tensor, grid: RayGrid, use: Tensor | None, convention: PixelConvention) -> Targets:
        """Targets of images (N, 3, H, W) 0..1, of which the pixels ``use`` (N, H, W) count."""
        pixels = grid.pixels.expand(images.shape[0], -1, -1)
        used = None if use is None else sample_mask(use, pixels, convention)
        return cls(grid, pixels, sample_colours(images, pixels, convention, use), used, convention)

    def unmoved_error(self, source: Tensor, use: Tensor | None, ssim: bool = True) -> tuple[Tensor, Tensor]:
        """Error of a source as it is, in the same pixels (Monodepth2, Godard et al. 2019, eq. 5).

        Args:
            source: (N, 3, H, W) 0..1.
            use: (N, H, W) bool, source pixels that count.

        Returns:
            errors (N, R), and which rays have one (N, R).
        """
        colours = sample_colours(source, self.pixels, self.convention, use)
        available = torch.ones(colours.shape[:2], dtype=torch.bool, device=colours.device)
        comparable = self.use
        if use is not None:
            available = sample_mask(use, self.pixels, self.convention)
            comparable = combine_masks(available, self.use)
        return colour_error(colours, self.colours, self.grid, ssim, comparable), available
