# SPDX-License-Identifier: Apache-2.0
"""Rendered class probabilities against label images of a segmentation network (SelfOcc, Huang et al. 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfocc_training.losses.lookup import PixelConvention, sample_labels
from selfocc_training.losses.masks import masked_mean, require_boolean
from selfocc_training.losses.ray_grid import RayGrid

LEAST_PROBABILITY = 1e-6


def semantic_cross_entropy(
    probabilities: Tensor,
    labels: Tensor,
    grid: RayGrid,
    *,
    convention: PixelConvention = "selfocc",
    use: Tensor | None = None,
) -> Tensor:
    """Mean over rays of -log of the labelled class's probability, clamped to 1e-6..1.

    Args:
        probabilities: (N, R, C) rendered; they need not add up to 1.
        labels: (N, H, W) integers 0..C-1; what masked pixels hold does not matter.
        convention: where pixels lie on the images, see ``losses.lookup``.
        use: (N, H, W) bool, pixels that count; read where the label is.
    """
    classes, counts = _classes(labels, grid, convention, use)
    chosen = probabilities.gather(-1, classes.unsqueeze(-1)).squeeze(-1)
    return masked_mean(-chosen.clamp(LEAST_PROBABILITY, 1.0).log(), counts)


def semantic_binary_cross_entropy(
    probabilities: Tensor,
    labels: Tensor,
    grid: RayGrid,
    *,
    convention: PixelConvention = "selfocc",
    use: Tensor | None = None,
) -> Tensor:
    """Mean over rays and classes of the binary cross entropy of probabilities, clamped to 0..1, with one-hot labels.

    Arguments are those of ``semantic_cross_entropy``. Logarithms are clamped at -100; the gradient is not, and a
    labelled class that is rendered with probability 0 gets one of 1e12 before the mean. NaN gives NaN.
    """
    classes, counts = _classes(labels, grid, convention, use)
    one_hot = F.one_hot(classes, probabilities.shape[-1]).to(probabilities.dtype)
    # torch's own form raises at NaN, on CUDA for good; what is not a number is to come out as such, as of other terms.
    known = ~probabilities.isnan()
    clamped = torch.where(known, probabilities, 0.5).clamp(0.0, 1.0)
    entropy = torch.where(known, F.binary_cross_entropy(clamped, one_hot, reduction="none"), probabilities)
    return masked_mean(entropy.mean(dim=-1), counts)


def _classes(
    labels: Tensor, grid: RayGrid, convention: PixelConvention, use: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Classes of the rays (N, R), 0 where masked, and which rays count."""
    rays = grid.pixels.expand(labels.shape[0], -1, -1)
    classes = sample_labels(labels, rays, convention)
    if use is None:
        return classes, None
    require_boolean(use)
    counts = sample_labels(use, rays, convention).bool()
    return torch.where(counts, classes, 0), counts
