# SPDX-License-Identifier: Apache-2.0
"""SelfOcc: surround images -> backbone -> lifted features -> signed distance and colour."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfocc_ros.configuration import ConfigError
from selfocc_ros.model.backbone import STRIDE, Backbone, ray_features
from selfocc_ros.model.config import DecisionConfig, ModelConfig
from selfocc_ros.model.encoder import BirdsEyeEncoder
from selfocc_ros.model.layers import ConvNorm
from selfocc_ros.model.lifting import Lifting, LiftLookup, build_lookup
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.model.scene import Scene


@dataclass(frozen=True)
class RigCache:
    """Everything that depends on the rig alone; computed once and reused until calibration changes."""

    rays: Tensor
    lookup: LiftLookup


class SelfOcc(nn.Module):
    """The ``fast`` family: a precomputed lookup and 2D convolutions only."""

    prior: Tensor
    lower: Tensor
    upper: Tensor
    points: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        field, heights = config.field, config.lifting.heights
        if any(cells % 2 for cells in field.cells[:2]):
            raise ConfigError(f"{config.name}: field.cells along x and y must be even, found {list(field.cells[:2])}.")
        nodes = tuple(cells + 1 for cells in field.cells)
        self.coarse = (field.cells[0] // 2 + 1, field.cells[1] // 2 + 1, heights)
        self.backbone = Backbone(config.backbone)
        self.lifting = Lifting(config.lifting, config.backbone.neck)
        self.encoder = BirdsEyeEncoder(config.encoder, self.lifting.channels * heights)
        channels, fine = config.encoder.channels, config.encoder.fine
        self.refine = nn.Sequential(ConvNorm(fine, fine), nn.Conv2d(fine, nodes[2], 1))
        self.narrow = nn.Conv2d(channels, fine, 1)
        self.coarse_sdf = nn.Conv2d(channels, nodes[2], 1)
        self.colour = nn.Conv2d(channels, 3 * heights, 1)
        # The field starts as the flat-ground prior, so that from the first step rays end somewhere sensible.
        for head in (self.refine[1], self.coarse_sdf):
            nn.init.normal_(head.weight, std=1e-3)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]
        self.log_sharpness = nn.Parameter(torch.tensor(config.renderer.log_sharpness))
        z = torch.linspace(field.lower[2], field.upper[2], nodes[2])
        self.register_buffer("prior", z.clamp(*field.prior_range), persistent=False)
        self.register_buffer("lower", torch.tensor(field.lower), persistent=False)
        self.register_buffer("upper", torch.tensor(field.upper), persistent=False)
        axes = [torch.linspace(a, b, n) for a, b, n in zip(field.lower, field.upper, self.coarse, strict=True)]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
        self.register_buffer("points", points, persistent=False)

    @property
    def parameter_count(self) -> int:
        """Number of learnt values."""
        return sum(parameter.numel() for parameter in self.parameters())

    def prepare(self, rig: RigTensors) -> RigCache:
        """Geometry of a rig whose images are of the configured input size."""
        size = self.config.input
        rays = ray_features(rig, size.width, size.height)
        lookup = build_lookup(rig, self.points, self.config.lifting, (size.height // STRIDE, size.width // STRIDE))
        return RigCache(rays, lookup)

    def encode(self, images: Tensor, cache: RigCache) -> Scene:
        """Encode one moment.

        Args:
            images: (N, 3, height, width) RGB, 0..255, of the configured input size, zero where nothing is seen.
            cache: geometry of the same N cameras.
        """
        features = self.backbone(images, cache.rays)
        voxels, log_distances = self.lifting(features, cache.lookup)
        x, y, z = self.coarse
        plane = voxels.reshape(1, x, y, -1).permute(0, 3, 1, 2)
        plane = self.encoder(plane)
        nodes = tuple(cells + 1 for cells in self.config.field.cells)
        fine = F.interpolate(self.narrow(plane), size=nodes[:2], mode="bilinear", align_corners=True)
        coarse = F.interpolate(self.coarse_sdf(plane), size=nodes[:2], mode="bilinear", align_corners=True)
        residual = (self.refine(fine) + coarse).float()[0].permute(1, 2, 0)
        colours = torch.sigmoid(self.colour(plane).float()).reshape(3, z, x, y).permute(0, 2, 3, 1)
        sharpness = torch.exp(10.0 * self.log_sharpness).clamp(max=100.0)
        return Scene(residual + self.prior, colours, self.lower, self.upper, sharpness, log_distances)

    def decide(self, scene: Scene) -> Tensor:
        """(X, Y, Z) metres over the occupancy grid: occupied where negative."""
        return decide(scene.nodes, self.config.decision)


def build_model(config: ModelConfig) -> SelfOcc:
    """Network with random weights.

    Raises:
        ConfigError: if the family is unknown or the sizes do not fit together.
    """
    if config.family != "fast":
        raise ConfigError(f"{config.name}: unknown family {config.family!r} (known: fast).")
    if config.input.width % 16 or config.input.height % 16:
        raise ConfigError(
            f"{config.name}: input must be a multiple of 16 pixels, found {config.input.width}x{config.input.height}."
        )
    if len(config.decision.thresholds) not in (1, config.field.cells[2]):
        raise ConfigError(
            f"{config.name}: decision.thresholds must hold 1 value or one for each of the {config.field.cells[2]} "
            f"height layers, found {len(config.decision.thresholds)}."
        )
    return SelfOcc(config)


def occupancy_score(nodes: Tensor, lowest_corner: float) -> Tensor:
    """Signed distance in metres that decides about each cell, from the nodes at its corners.

    A voxel is occupied when a surface passes through any part of it, so its lowest corner counts, but a single noisy
    corner must not: the score is ``a * lowest corner + (1 - a) * mean of the eight corners``.

    Args:
        nodes: (X + 1, Y + 1, Z + 1) metres.

    Returns:
        (X, Y, Z) metres.
    """
    volume = nodes[None, None]
    mean = F.avg_pool3d(volume, 2, stride=1)[0, 0]
    lowest = -F.max_pool3d(-volume, 2, stride=1)[0, 0]
    return lowest_corner * lowest + (1.0 - lowest_corner) * mean


def decide(nodes: Tensor, config: DecisionConfig) -> Tensor:
    """(X, Y, Z) metres: ``occupancy_score`` less the threshold of each height layer; occupied where negative."""
    thresholds = torch.tensor(config.thresholds, device=nodes.device)
    return occupancy_score(nodes, config.lowest_corner) - thresholds
