# SPDX-License-Identifier: Apache-2.0
"""Likeness of colours on a grid of rays, of which some may not be looked at."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfocc_training.losses.ray_grid import RayGrid

L1_SHARE = 0.15
"""The rest is structure (Monodepth2, Godard et al. 2019, and SelfOcc alike)."""


def fill_unused(colours: Tensor, use: Tensor | None, grid: RayGrid) -> Tensor:
    """Replace what may not be looked at by the mean of its used neighbours in the 3x3 window.

    A used ray's SSIM window reaches one ray beyond the edge of a mask. Filled alike in both pictures, what stands
    there neither tells of the masked pixels nor makes equal pictures differ.

    Args:
        colours: (N, R, C) on the ray grid.
        use: (N, R) bool; None leaves the colours as they are.
    """
    if use is None:
        return colours
    kept = torch.where(use.unsqueeze(-1), colours, 0.0)
    planes = torch.cat([kept, use.unsqueeze(-1).to(kept.dtype)], dim=-1).transpose(1, 2)
    sums = F.avg_pool2d(planes.reshape(*planes.shape[:2], grid.height, grid.width), 3, stride=1, padding=1)
    means = sums[:, :-1] / sums[:, -1:].clamp(min=1.0 / 9.0)
    return torch.where(use.unsqueeze(-1), kept, means.flatten(2).transpose(1, 2))


def dissimilarity(a: Tensor, b: Tensor, grid: RayGrid, use: Tensor | None = None) -> Tensor:
    """(1 - SSIM) / 2 of colours (N, R, 3) on the ray grid, 3x3 windows, mean over channels: (N, R).

    SSIM is that of Wang et al. 2004 with uniform windows, reflected at the border of the grid.
    """
    a, b = fill_unused(a, use, grid), fill_unused(b, use, grid)
    x, y = (c.transpose(1, 2).reshape(c.shape[0], 3, grid.height, grid.width) for c in (a, b))
    x, y = F.pad(x, (1, 1, 1, 1), mode="reflect"), F.pad(y, (1, 1, 1, 1), mode="reflect")

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, 3, stride=1)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return ((1 - ssim) / 2).clamp(0, 1).mean(dim=1).reshape(a.shape[0], -1)


def colour_error(a: Tensor, b: Tensor, grid: RayGrid, ssim: bool = True, use: Tensor | None = None) -> Tensor:
    """0.15 L1 + 0.85 (1 - SSIM) / 2 of colours (N, R, 3), or L1 alone: (N, R). Unused rays' values mean nothing."""
    a, b = fill_unused(a, use, grid), fill_unused(b, use, grid)
    difference = (a - b).abs().mean(dim=-1)
    return L1_SHARE * difference + (1 - L1_SHARE) * dissimilarity(a, b, grid) if ssim else difference
