# SPDX-License-Identifier: Apache-2.0
"""Image features to the volume by a precomputed lookup, gated by a per-pixel distribution over distance.

A voxel reads the features of every camera that sees it, bilinearly. Some channels are multiplied by the probability
that the pixel's surface lies at the voxel's distance, and that probability and the chance that the ray gets past the
voxel are lifted too: what one image says about distance reaches the volume directly (the lift of Lift-Splat-Shoot,
Philion & Fidler 2020, read backwards from the voxel).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfocc_ros.model.backbone import STRIDE
from selfocc_ros.model.config import LiftingConfig
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.ops.gather import weighted_gather

EXTRA_CHANNELS = 3  # surface probability, chance to get past, whether any camera sees the voxel


@dataclass(frozen=True)
class Lifted:
    """What lifting gives.

    Attributes:
        voxels: (V, channels) in the order of the lookup's voxels.
        fine: (V', fine_channels) in the order of the fine lookup's voxels; None without one.
        log_distances: (N, D, h, w) log-probability over distance along each feature's ray.
    """

    voxels: Tensor
    fine: Tensor | None
    log_distances: Tensor


@dataclass(frozen=True)
class LiftLookup:
    """Where each (voxel, camera) pair reads; it depends on the rig alone and is reused until calibration changes.

    Attributes:
        voxels: (M,) index of the voxel of each pair.
        distances: (M,) metres between camera and voxel.
        pixels: (M, 4) rows of the flattened feature maps (camera, row, column) of the bilinear corners.
        pixel_weights: (M, 4).
        bins: (M, 8) rows of the flattened distance distribution (camera, row, column, bin).
        bin_weights: (M, 8).
        inverse_counts: (V, 1) one over the number of cameras that see the voxel; 0 where none does.
    """

    voxels: Tensor
    distances: Tensor
    pixels: Tensor
    pixel_weights: Tensor
    bins: Tensor
    bin_weights: Tensor
    inverse_counts: Tensor


def build_lookup(rig: RigTensors, points: Tensor, config: LiftingConfig, feature_size: tuple[int, int]) -> LiftLookup:
    """Lookup of ``rig`` for voxel ``points`` (V, 3) in the ground frame; ``feature_size`` is (height, width)."""
    height, width = feature_size
    pixels, _, inside = rig.project(points)
    camera, voxel = inside.nonzero(as_tuple=True)
    at = (pixels[camera, voxel] + 0.5) / STRIDE - 0.5
    u = at[:, 0].clamp(0, width - 1)
    v = at[:, 1].clamp(0, height - 1)
    distance = (points[voxel] - rig.base_from_camera[camera, :3, 3]).norm(dim=-1)
    near, far = config.depth_range
    level = torch.log(distance.clamp(near, far) / near) / math.log(far / near) * (config.depth_bins - 1)
    u0, v0, b0 = (x.floor().long() for x in (u, v, level))
    fu, fv, fb = u - u0, v - v0, level - b0
    u1, v1 = (u0 + 1).clamp(max=width - 1), (v0 + 1).clamp(max=height - 1)
    b1 = (b0 + 1).clamp(max=config.depth_bins - 1)
    rows = torch.stack([(camera * height + y) * width + x for y in (v0, v1) for x in (u0, u1)], dim=1)
    weights = torch.stack([wy * wx for wy in (1 - fv, fv) for wx in (1 - fu, fu)], dim=1)
    bins = torch.cat([rows * config.depth_bins + b[:, None] for b in (b0, b1)], dim=1)
    bin_weights = torch.cat([weights * w[:, None] for w in (1 - fb, fb)], dim=1)
    counts = torch.zeros(points.shape[0], device=points.device).index_add_(0, voxel, torch.ones_like(u))
    inverse = torch.where(counts > 0, 1.0 / counts.clamp(min=1.0), torch.zeros_like(counts))
    return LiftLookup(voxel, distance, rows, weights, bins, bin_weights, inverse[:, None])


def bin_distances(config: LiftingConfig, device: torch.device | str = "cpu") -> Tensor:
    """(D,) metres along the ray of the distance bins."""
    near, far = config.depth_range
    return near * (far / near) ** torch.linspace(0, 1, config.depth_bins, device=device)


class Lifting(nn.Module):
    """Feature head (lifted channels and distance logits) and the lifting itself."""

    def __init__(self, config: LiftingConfig, inputs: int) -> None:
        super().__init__()
        self.config = config
        self.head = nn.Conv2d(inputs, config.plain + config.gated + config.depth_bins + config.fine, 1)

    @property
    def channels(self) -> int:
        """Channels of a lifted voxel."""
        return self.config.plain + self.config.gated + EXTRA_CHANNELS

    @property
    def fine_channels(self) -> int:
        """Channels of a finely lifted voxel."""
        return self.config.fine + EXTRA_CHANNELS

    def forward(self, features: Tensor, lookup: LiftLookup, fine: LiftLookup | None = None) -> Lifted:
        """Lift ``features`` (N, C, h, w) to the voxels of ``lookup`` and, the fine channels, to those of ``fine``."""
        config = self.config
        head: Tensor = self.head(features).float()
        sizes = [config.plain + config.gated, config.depth_bins, config.fine]
        lifted, logits, finely = torch.split(head, sizes, dim=1)
        log_probability = F.log_softmax(logits, dim=1)
        probability = log_probability.exp().permute(0, 2, 3, 1)
        past = 1.0 - probability.cumsum(dim=-1) + 0.5 * probability
        # Probabilities per bin are about 1 / D; scaled so that the gated channels start with a size of order one.
        table = torch.stack([probability * (config.depth_bins / 8.0), past], dim=-1).reshape(-1, 2)
        voxels = _lift(lifted, table, lookup, config.plain)
        return Lifted(voxels, None if fine is None else _lift(finely, table, fine, 0), log_probability)


def _lift(features: Tensor, table: Tensor, lookup: LiftLookup, plain: int) -> Tensor:
    """Mean over the cameras that see a voxel.

    Args:
        features: (N, C, h, w), of which all but the first ``plain`` channels are gated.
        table: (N * h * w * D, 2) surface probability and chance to get past, by distance.

    Returns:
        (V, C + EXTRA_CHANNELS).
    """
    gate = weighted_gather(table, lookup.bins, lookup.bin_weights)
    rows = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    pairs = weighted_gather(rows, lookup.pixels, lookup.pixel_weights)
    pairs = torch.cat([pairs[:, :plain], pairs[:, plain:] * gate[:, :1], gate], dim=1)
    summed = pairs.new_zeros(lookup.inverse_counts.shape[0], pairs.shape[1])
    mean = summed.index_add(0, lookup.voxels, pairs) * lookup.inverse_counts
    seen = (lookup.inverse_counts > 0).to(mean.dtype)
    return torch.cat([mean, seen], dim=1)
