# SPDX-License-Identifier: Apache-2.0
"""This project's reprojection loss: SelfOcc's MVS-embedded one for a near and a wide pair of sources.

As in ``losses.mvs``, every sample of a ray is a depth proposal that is looked up in other moments of the same camera,
and counts with its rendering weight (SelfOcc, Huang et al. 2024, sec. 3.3). What differs: sources are compared in
pairs of like baseline, light that the box does not stop may come from proposals beyond it, and rays that see nothing
do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfocc_training.losses.lookup import PixelConvention, sample_colours, sample_mask
from selfocc_training.losses.masks import combine_masks
from selfocc_training.losses.ray_grid import RayGrid
from selfocc_training.losses.similarity import L1_SHARE, dissimilarity
from selfocc_training.losses.targets import INVALID, Targets
from selfocc_training.views import Views

CENTRES: PixelConvention = "centres"


@dataclass(frozen=True)
class _Warp:
    """What one source says of every ray (V, R).

    Attributes:
        error: of the weighed proposals.
        visible: whether the source sees the ray at any distance.
        mostly: whether it sees where most of the ray's light comes from.
    """

    error: Tensor
    visible: Tensor
    mostly: Tensor


def pairs_loss(
    views: Views,
    grid: RayGrid,
    weights: Tensor,
    points: Tensor,
    background: tuple[Tensor, Tensor] | None,
    auto_mask: bool,
) -> Tensor:
    """MVS-embedded loss with sources kept apart and the minimum of each pair taken (SelfOcc's variant for KITTI).

    The near pair counts for every ray that it can see at any distance. A wider pair, which tells far distances apart
    where the near one no longer does, counts for rays whose light it mostly sees: near things leave its pictures, and
    what is left of their rays would say nothing true.

    Args:
        views: pictures, cameras and masks. A proposal that lands on a masked pixel of a source is as good as one
            that lands beside the picture.
        weights: (V, R, S) rendering weights; the gradient flows through these alone.
        points: (V, R, S, 3) proposals in the scene's frame.
        background: transmittance left (V, R) and proposals beyond the box (V, R, B, 3), or None.
        auto_mask: leave out rays that an unmoved source explains better than any warp (static camera, car ahead).

    Returns:
        Scalar, the mean over the rays and pairs that count.
    """
    targets = Targets.of(views.images, grid, views.use, CENTRES)
    if background is not None:
        points = torch.cat([points, background[1]], dim=2)
    left = None if background is None else background[0]
    total, counted = weights.new_zeros(()), weights.new_zeros(())
    for number, pair in enumerate(views.pairs):
        values, order, seen = [], [], []
        for k in pair:
            warp = _warp(views, k, targets, weights, points, left)
            aside = INVALID * ~warp.mostly
            values.append(warp.error)
            order.append(warp.error.detach() + aside + INVALID**2 * ~warp.visible)
            seen.append(warp.visible if number == 0 else warp.mostly)
            if auto_mask:
                with torch.no_grad():
                    still, available = targets.unmoved_error(views.sources[:, k], _use(views, k))
                values.append(still)
                order.append(still + aside + INVALID**2 * ~available)
        chosen = torch.stack(order).argmin(dim=0, keepdim=True)
        usable = torch.stack(seen).any(dim=0)
        if targets.use is not None:
            usable = usable & targets.use
        total = total + (torch.stack(values).gather(0, chosen)[0] * usable).sum()
        counted = counted + usable.sum()
    return total / counted.clamp(min=1)


def _warp(views: Views, k: int, targets: Targets, weights: Tensor, points: Tensor, left: Tensor | None) -> _Warp:
    """What source k says.

    Weights are renormalised over proposals that fall into the source. Light that the box does not stop goes to the
    best of the proposals beyond the box (the last ones), so that a ray to the sky or to a far house need not end in
    the lid.
    """
    use, usable = _use(views, k), targets.use
    with torch.no_grad():
        pixels, _, inside = views.source_rigs[k].project(points.detach().reshape(points.shape[0], -1, 3))
        pixels, valid = pixels.reshape(*points.shape[:-1], 2), inside.reshape(points.shape[:-1])
        colours = sample_colours(views.sources[:, k], pixels, CENTRES, use)
        error = (colours - targets.colours.unsqueeze(2)).abs().mean(dim=-1)
        if use is not None:
            on_picture = valid.any(dim=-1)
            valid = valid & sample_mask(use, pixels, CENTRES)
            # Rays of which a mask leaves nothing are black, and must not darken their neighbours' windows.
            usable = combine_masks(usable, valid.any(dim=-1) | ~on_picture)
    share = weights
    if left is not None:
        beyond = slice(weights.shape[-1], None)
        best = (error[..., beyond] + INVALID * ~valid[..., beyond]).argmin(dim=-1, keepdim=True)
        chosen = torch.zeros_like(error[..., beyond]).scatter(-1, best, 1.0)
        share = torch.cat([weights, left.unsqueeze(-1) * chosen], dim=-1)
    everything = share.detach().sum(dim=-1)
    share = share * valid
    total = share.sum(dim=-1, keepdim=True)
    share = share / total.clamp(min=1e-4)
    composed = (share.unsqueeze(-1) * colours).sum(dim=2)
    structure = dissimilarity(composed, targets.colours, targets.grid, usable)
    loss = L1_SHARE * (share * error).sum(dim=-1) + (1 - L1_SHARE) * structure
    # Geometry alone decides what the near pair counts: were it the weights, a ray could escape by turning transparent.
    return _Warp(loss, valid.any(dim=-1), total[..., 0].detach() > 0.5 * everything)


def _use(views: Views, k: int) -> Tensor | None:
    return None if views.source_use is None else views.source_use[:, k]
