# SPDX-License-Identifier: Apache-2.0
"""Photometric terms: the MVS-embedded reprojection loss of SelfOcc and the loss on rendered colour.

The MVS-embedded loss (SelfOcc, Huang et al. 2024, sec. 3.3) takes every sample of a ray as a depth proposal, looks
the proposal up in a neighbouring frame of the same camera, and weighs what it finds by the rendering weight: the
gradient reaches the whole ray, not only the places near the rendered depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from selfocc_ros.model.rig_tensors import RigTensors

L1_SHARE = 0.15
INVALID = 1e3


@dataclass(frozen=True)
class RayGrid:
    """Regular grid of rays, the same for all views.

    Attributes:
        pixels: (R, 2) u, v.
        height, width: rows and columns of the grid, R = height * width.
    """

    pixels: Tensor
    height: int
    width: int


def ray_grid(image: tuple[int, int], height: int, width: int, uniform: Tensor) -> RayGrid:
    """Grid with random stride and offset (SelfOcc's "cellular" sampler).

    Args:
        image: (height, width) in pixels of the area to sample.
        uniform: (4,) values in 0..1: stride x, stride y, offset x, offset y.
    """
    stride_x = 1 + uniform[0] * (image[1] / width - 1)
    stride_y = 1 + uniform[1] * (image[0] / height - 1)
    u = uniform[2] * (image[1] - width * stride_x) + torch.arange(width) * stride_x
    v = uniform[3] * (image[0] - height * stride_y) + torch.arange(height) * stride_y
    rows, columns = torch.meshgrid(v, u, indexing="ij")
    return RayGrid(torch.stack([columns, rows], dim=-1).reshape(-1, 2), height, width)


def sample_images(images: Tensor, pixels: Tensor) -> Tensor:
    """Bilinear colours of images (V, 3, H, W) at pixels (V, ..., 2): (V, ..., 3), border outside."""
    height, width = images.shape[-2:]
    scale = torch.tensor([2.0 / width, 2.0 / height], device=images.device)
    grid = ((pixels + 0.5) * scale - 1.0).reshape(images.shape[0], -1, 1, 2)
    values = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return values[..., 0].transpose(1, 2).reshape(*pixels.shape[:-1], 3)


def dissimilarity(a: Tensor, b: Tensor, grid: RayGrid) -> Tensor:
    """(1 - SSIM) / 2 of colours (V, R, 3) on the ray grid, 3x3 windows, mean over channels: (V, R)."""
    x, y = (c.transpose(1, 2).reshape(c.shape[0], 3, grid.height, grid.width) for c in (a, b))
    x, y = F.pad(x, (1, 1, 1, 1), mode="reflect"), F.pad(y, (1, 1, 1, 1), mode="reflect")

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, 3, stride=1)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return ((1 - ssim) / 2).clamp(0, 1).mean(dim=1).reshape(a.shape[0], -1)


def colour_error(a: Tensor, b: Tensor, grid: RayGrid) -> Tensor:
    """0.15 L1 + 0.85 dissimilarity of colours (V, R, 3): (V, R)."""
    return L1_SHARE * (a - b).abs().mean(dim=-1) + (1 - L1_SHARE) * dissimilarity(a, b, grid)


@dataclass(frozen=True)
class Views:
    """V views whose rays are rendered, each with K source frames of the same camera.

    Attributes:
        images: (V, 3, H, W) 0..1 of the anchors.
        sources: (V, K, 3, H, W) 0..1.
        rigs: cameras of the anchors, posed in the frame of the rendered scene.
        source_rigs: K rigs of V cameras each, posed likewise.
        pairs: sources of like baseline, the nearest first; each pair has its own minimum.
    """

    images: Tensor
    sources: Tensor
    rigs: RigTensors
    source_rigs: tuple[RigTensors, ...]
    pairs: tuple[tuple[int, ...], ...] = ((0, 1),)

    def first(self, count: int) -> Views:
        """The first ``count`` views."""
        chosen = torch.arange(count)
        return Views(
            self.images[:count],
            self.sources[:count],
            self.rigs.select(chosen),
            tuple(rig.select(chosen) for rig in self.source_rigs),
            self.pairs,
        )


def reprojection_loss(
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
        weights: (V, R, S) rendering weights; the gradient flows through these alone.
        points: (V, R, S, 3) proposals in the scene's frame.
        background: transmittance left (V, R) and proposals beyond the box (V, R, B, 3), or None.
        auto_mask: leave out rays that an unmoved source explains better than any warp (static camera, car ahead).

    Returns:
        Scalar, the mean over the rays and pairs that count.
    """
    pixels = grid.pixels.expand(views.images.shape[0], -1, -1)
    target = sample_images(views.images, pixels)
    if background is not None:
        points = torch.cat([points, background[1]], dim=2)
    left = None if background is None else background[0]
    total, counted = weights.new_zeros(()), weights.new_zeros(())
    for number, pair in enumerate(views.pairs):
        values, order, seen = [], [], []
        for k in pair:
            loss, visible, most = _warp_loss(views, k, grid, target, weights, points, left)
            aside = INVALID * ~most
            values.append(loss)
            order.append(loss.detach() + aside + INVALID**2 * ~visible)
            seen.append(visible if number == 0 else most)
            if auto_mask:
                with torch.no_grad():
                    still = colour_error(sample_images(views.sources[:, k], pixels), target, grid)
                values.append(still)
                order.append(still + aside)
        chosen = torch.stack(order).argmin(dim=0, keepdim=True)
        usable = torch.stack(seen).any(dim=0)
        total = total + (torch.stack(values).gather(0, chosen)[0] * usable).sum()
        counted = counted + usable.sum()
    return total / counted.clamp(min=1)


def _warp_loss(
    views: Views, k: int, grid: RayGrid, target: Tensor, weights: Tensor, points: Tensor, left: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (V, R) against source k, which rays fall into it at any distance, and which with most of their light.

    Weights are renormalised over proposals that fall into the source. Light that the box does not stop goes to the
    best of the proposals beyond the box (the last ones), so that a ray to the sky or to a far house need not end in
    the lid.
    """
    with torch.no_grad():
        pixels, _, inside = views.source_rigs[k].project(points.detach().reshape(points.shape[0], -1, 3))
        colours = sample_images(views.sources[:, k], pixels).reshape(*points.shape[:-1], 3)
        valid = inside.reshape(points.shape[:-1])
        error = (colours - target.unsqueeze(2)).abs().mean(dim=-1)
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
    loss = L1_SHARE * (share * error).sum(dim=-1) + (1 - L1_SHARE) * dissimilarity(composed, target, grid)
    # Geometry alone decides what the near pair counts: were it the weights, a ray could escape by turning transparent.
    return loss, valid.any(dim=-1), total[..., 0].detach() > 0.5 * everything
