# SPDX-License-Identifier: Apache-2.0
"""The MVS-embedded reprojection loss (SelfOcc, Huang et al. 2024, sec. 3.3), in both of its variants.

Every sample of a ray is a depth proposal. It is looked up in the frames before and after, and its photometric error
counts with the rendering weight of the sample: the gradient reaches the whole ray, not only the places near the
rendered depth, and it flows through the weights alone.

``"combined"`` (nuScenes) averages the sources proposal by proposal before the proposals are weighed; ``"separate"``
(KITTI) weighs them source by source and takes the better source of each ray, as Monodepth2 does against occlusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from selfocc_training.losses.lookup import (
    PixelConvention,
    inside_image,
    project,
    sample_colours,
    sample_mask,
    unit_colours,
)
from selfocc_training.losses.masks import combine_masks, masked_mean
from selfocc_training.losses.ray_grid import RayGrid
from selfocc_training.losses.similarity import L1_SHARE, dissimilarity
from selfocc_training.losses.targets import INVALID, Targets

Variant = Literal["combined", "separate"]

WEIGHT_FLOOR = float(torch.finfo(torch.float32).eps)


@dataclass(frozen=True)
class MvsLoss:
    """Loss, and what it was the least of.

    Attributes:
        loss: scalar.
        candidates: (N, R, C) detached errors of each ray: of the warp (``"combined"``) or of one warp per source
            (``"separate"``), then with auto-mask one of each unmoved source. ``INVALID`` where a ray has none.
        counts: (N, R) rays that the mean was taken over.
    """

    loss: Tensor
    candidates: Tensor
    counts: Tensor


@dataclass(frozen=True)
class _Found:
    """Proposals looked up in one source: colours (N, R, S, 3), errors, on the image, and fit for use (N, R, S)."""

    colours: Tensor
    errors: Tensor
    inside: Tensor
    valid: Tensor


@dataclass(frozen=True)
class _Candidate:
    """One error per ray (N, R), whether the ray has it, and whether a mask alone is why it has not."""

    error: Tensor
    available: Tensor
    lost: Tensor


def mvs_loss(
    images: Tensor,
    source_images: Tensor,
    source_pixel_from_pixel: Tensor,
    grid: RayGrid,
    depths: Tensor,
    weights: Tensor,
    *,
    variant: Variant = "combined",
    auto_mask: bool = True,
    ssim: bool = True,
    convention: PixelConvention = "selfocc",
    use: Tensor | None = None,
    source_use: Tensor | None = None,
    weight_floor: float = WEIGHT_FLOOR,
) -> MvsLoss:
    """MVS-embedded reprojection loss of N views with K sources each.

    With weights w_m renormalised over the proposals m that fall into a source, e_m the L1 error of proposal m and
    I = sum_m w_m I_s(p_m) the composed colour, a ray's error is 0.15 sum_m w_m e_m + 0.85 (1 - SSIM(I, I_t)) / 2.

    Args:
        images: (N, 3, H, W) 0..1 or uint8, the targets, in the order of channels that the sources have.
        source_images: (N, K, 3, H, W) likewise, other moments of the same cameras.
        source_pixel_from_pixel: (N, K, 4, 4) maps (u z, v z, z, 1) of the target to that of the source.
        grid: rays of every target.
        depths: (N, R, S) z-depths of the proposals, metres.
        weights: (N, R, S) rendering weights; the gradient flows through these alone.
        auto_mask: leave out rays that an unmoved source explains better than the warp (static camera, car ahead).
        ssim: False compares by L1 alone.
        convention: where pixels lie on the images, see ``losses.lookup``.
        use: (N, H, W) bool, target pixels that count.
        source_use: (N, K, H, W) bool, source pixels at which proposals count.
        weight_floor: least sum that the weights of a ray's valid proposals are divided by. The default is SelfOcc's;
            it lets the gradient of a ray whose valid proposals hardly weigh anything grow without much of a bound.

    Returns:
        the mean over rays. Without masks all rays count, also those that fall into no source, as in SelfOcc: they
        add ``INVALID``, a constant ("combined" without auto-mask takes their composed colour to be black instead).
        Rays that a mask takes, or leaves without anything to compare with, do not count.

    Raises:
        ValueError: if shapes do not belong together.
    """
    _check_shapes(images, source_images, source_pixel_from_pixel, grid, depths, weights, use, source_use)
    with torch.no_grad():
        targets = Targets.of(unit_colours(images), grid, use, convention)
        found, still = [], []
        for k in range(source_images.shape[1]):
            source = unit_colours(source_images[:, k])
            used = None if source_use is None else source_use[:, k]
            found.append(
                _look_up(source, used, targets, *project(targets.pixels, depths, source_pixel_from_pixel[:, k]))
            )
            if auto_mask:
                error, available = targets.unmoved_error(source, used, ssim)
                still.append(_Candidate(error, available, ~available))
    groups = [found] if variant == "combined" else [[one] for one in found]
    candidates = [_warp(group, targets, weights, ssim, weight_floor) for group in groups]
    if variant == "combined" and not auto_mask:
        errors = [one.error.masked_fill(one.lost, INVALID) for one in candidates]
    else:
        candidates += still
        errors = [one.error.masked_fill(~one.available, INVALID) for one in candidates]
    stacked = torch.stack(errors, dim=-1)
    available = torch.stack([one.available for one in candidates]).any(dim=0)
    lost = torch.stack([one.lost for one in candidates]).any(dim=0)
    counts = available | ~lost
    if targets.use is not None:
        counts = counts & targets.use
    return MvsLoss(masked_mean(stacked.min(dim=-1).values, counts), stacked.detach(), counts)


def _look_up(source: Tensor, use: Tensor | None, targets: Targets, pixels: Tensor, depths: Tensor) -> _Found:
    height, width = source.shape[-2:]
    inside = valid = inside_image(pixels, depths, (height, width), targets.convention)
    if use is not None:
        valid = inside & sample_mask(use, pixels, targets.convention)
    colours = sample_colours(source, pixels, targets.convention, use)
    return _Found(colours, (colours - targets.colours.unsqueeze(2)).abs().mean(dim=-1), inside, valid)


def _warp(found: Sequence[_Found], targets: Targets, weights: Tensor, ssim: bool, weight_floor: float) -> _Candidate:
    """Error of the weighed proposals, each in the mean of those sources that see it."""
    times = torch.stack([one.valid for one in found]).sum(dim=0)
    seen = times > 0
    available = seen.any(dim=-1)
    lost = torch.stack([one.inside for one in found]).any(dim=0).any(dim=-1) & ~available
    shares = weights * seen
    shares = shares / shares.sum(dim=-1, keepdim=True).clamp(min=weight_floor)
    parts = [one.valid / times.clamp(min=1) for one in found]
    errors = torch.stack([part * one.errors for part, one in zip(parts, found, strict=True)]).sum(dim=0)
    error = (shares * errors).sum(dim=-1)
    if ssim:
        composed = torch.zeros_like(targets.colours)
        for part, one in zip(parts, found, strict=True):
            composed = composed + torch.einsum("nrs,nrsc->nrc", shares * part, one.colours)
        structure = dissimilarity(composed, targets.colours, targets.grid, combine_masks(~lost, targets.use))
        error = L1_SHARE * error + (1 - L1_SHARE) * structure
    return _Candidate(error, available, lost)


def _check_shapes(
    images: Tensor,
    source_images: Tensor,
    source_pixel_from_pixel: Tensor,
    grid: RayGrid,
    depths: Tensor,
    weights: Tensor,
    use: Tensor | None,
    source_use: Tensor | None,
) -> None:
    count, _, height, width = images.shape
    sources, rays = source_images.shape[1], grid.height * grid.width
    expected = {
        "grid.pixels": (grid.pixels, (rays, 2)),
        "source_images": (source_images, (count, sources, 3, height, width)),
        "source_pixel_from_pixel": (source_pixel_from_pixel, (count, sources, 4, 4)),
        "depths": (depths, (count, rays, depths.shape[-1])),
        "weights": (weights, (count, rays, depths.shape[-1])),
        "use": (use, (count, height, width)),
        "source_use": (source_use, (count, sources, height, width)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name}: expected shape {shape}, found {tuple(tensor.shape)}.")
