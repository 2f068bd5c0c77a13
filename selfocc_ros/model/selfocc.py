# SPDX-License-Identifier: Apache-2.0
"""SelfOcc: surround images -> backbone -> lifted features -> signed distance and colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfocc_ros.configuration import ConfigError
from selfocc_ros.model.backbone import STRIDE, Backbone, ray_features
from selfocc_ros.model.config import OWN_BACKBONE, BackboneConfig, DecisionConfig, FieldConfig, ModelConfig
from selfocc_ros.model.encoder import BirdsEyeEncoder
from selfocc_ros.model.fused_backbone import FusedBackbone
from selfocc_ros.model.image_backbone import STRIDES
from selfocc_ros.model.layers import GROUPS, ConvNorm, ResidualBlock
from selfocc_ros.model.lifting import Lifting, LiftLookup, build_lookup
from selfocc_ros.model.renderer import Rendered, render
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.model.scene import Scene, occupancy_logits


@dataclass(frozen=True)
class RigCache:
    """Everything that depends on the rig alone; computed once and reused until calibration changes."""

    rays: Tensor
    lookup: LiftLookup
    fine: LiftLookup | None


class SelfOcc(nn.Module):
    """The ``fast`` family: a precomputed lookup and 2D convolutions only."""

    prior: Tensor
    lower: Tensor
    upper: Tensor
    points: Tensor
    fine_points: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        field, heights = config.field, config.lifting.heights
        if any(cells % 2 for cells in field.cells[:2]):
            raise ConfigError(f"{config.name}: field.cells along x and y must be even, found {list(field.cells[:2])}.")
        nodes = tuple(cells + 1 for cells in field.cells)
        self.coarse = (field.cells[0] // 2 + 1, field.cells[1] // 2 + 1, heights)
        self.backbone = Backbone(config.backbone) if _is_own(config.backbone) else FusedBackbone(config.backbone)
        self.lifting = Lifting(config.lifting, config.backbone.neck)
        self.encoder = BirdsEyeEncoder(config.encoder, self.lifting.channels * heights)
        channels, fine = config.encoder.channels, config.encoder.fine
        blocks = [ResidualBlock(fine) for _ in range(config.encoder.fine_blocks)]
        self.refine = nn.Sequential(ConvNorm(fine, fine), *blocks, nn.Conv2d(fine, nodes[2], 1))
        self.narrow = nn.Conv2d(channels, fine, 1)
        self.lifts_finely = config.lifting.fine > 0
        if self.lifts_finely:
            self.join = nn.Conv2d(self.lifting.fine_channels * heights, fine, 1)
        self.coarse_sdf = nn.Conv2d(channels, nodes[2], 1)
        self.colour = nn.Conv2d(channels, 3 * heights, 1)
        if config.head.classes:
            self.classes = nn.Conv2d(channels, len(config.head.classes) * heights, 1)
        if config.head.occupancy:
            self.occupancy = nn.Conv2d(fine, nodes[2], 1)
        # The field starts as the flat-ground prior, so that from the first step rays end somewhere sensible.
        # Likewise occupancy starts as what the distance tells, so that a trained network decides as before.
        for head in (self.refine[-1], self.coarse_sdf, *([self.occupancy] if config.head.occupancy else [])):
            nn.init.normal_(head.weight, std=1e-3)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]
        self.log_sharpness = nn.Parameter(torch.tensor(config.renderer.log_sharpness))
        z = torch.linspace(field.lower[2], field.upper[2], nodes[2])
        self.register_buffer("prior", z.clamp(*field.prior_range), persistent=False)
        self.register_buffer("lower", torch.tensor(field.lower), persistent=False)
        self.register_buffer("upper", torch.tensor(field.upper), persistent=False)
        self.register_buffer("points", _lattice(field, self.coarse), persistent=False)
        fine_points = _lattice(field, (*nodes[:2], heights)) if self.lifts_finely else torch.zeros(0, 3)
        self.register_buffer("fine_points", fine_points, persistent=False)

    @property
    def parameter_count(self) -> int:
        """Number of learnt values."""
        return sum(parameter.numel() for parameter in self.parameters())

    def prepare(self, rig: RigTensors) -> RigCache:
        """Geometry of a rig whose images are of the configured input size."""
        size = self.config.input
        rays = ray_features(rig, size.width, size.height)
        lifting, maps = self.config.lifting, (size.height // STRIDE, size.width // STRIDE)
        fine = build_lookup(rig, self.fine_points, lifting, maps) if self.lifts_finely else None
        return RigCache(rays, build_lookup(rig, self.points, lifting, maps), fine)

    def load_pretrained(self) -> None:
        """Take over the backbone weights that the configuration names, if any: for the start of training.

        Raises:
            ConfigError: with one sentence, if they are not to be had, or are those of another network.
        """
        if isinstance(self.backbone, FusedBackbone):
            self.backbone.load_pretrained()

    def encode(self, images: Tensor, cache: RigCache) -> Scene:
        """Encode one moment.

        Args:
            images: (N, 3, height, width) RGB, 0..255, of the configured input size, zero where nothing is seen.
            cache: geometry of the same N cameras.
        """
        features = self.backbone(images, cache.rays)
        lifted = self.lifting(features, cache.lookup, cache.fine)
        x, y, z = self.coarse
        plane = self.encoder(_folded(lifted.voxels, x, y))
        nodes = tuple(cells + 1 for cells in self.config.field.cells)
        fine = F.interpolate(self.narrow(plane), size=nodes[:2], mode="bilinear", align_corners=True)
        if lifted.fine is not None:
            fine = fine + self.join(_folded(lifted.fine, *nodes[:2]))
        coarse = F.interpolate(self.coarse_sdf(plane), size=nodes[:2], mode="bilinear", align_corners=True)
        refined: Tensor = self.refine[:-1](fine)
        sdf = _pillars(self.refine[-1](refined) + coarse) + self.prior
        colours = torch.sigmoid(self.colour(plane).float()).reshape(3, z, x, y).permute(0, 2, 3, 1)
        sharpness = torch.exp(10.0 * self.log_sharpness).clamp(max=100.0)
        logits = occupancy = None
        if self.config.head.classes:
            logits = self.classes(plane).float().reshape(-1, z, x, y).permute(0, 2, 3, 1)
        if self.config.head.occupancy:
            occupancy = occupancy_logits(_pillars(self.occupancy(refined)), sdf)
        return Scene(
            sdf,
            colours,
            self.lower,
            self.upper,
            sharpness,
            lifted.log_distances,
            logits=logits,
            occupancy=occupancy,
        )

    def render(
        self,
        scene: Scene,
        origins: Tensor,
        directions: Tensor,
        jitter: Tensor | None = None,
        samples: int | None = None,
        step: int | None = None,  # noqa: ARG002 - networks of other families bring terms in over training
    ) -> Rendered:
        """Render rays of a scene of this network, the way its configuration says.

        Args:
            origins, directions: (R, 3) metres and unit vectors in the ground frame.
            jitter: (R, 1) uniform in 0..1 for training, None for the same sections each time.
            samples: sections per ray, when other than configured.
            step: of training, which makes no difference to this family.
        """
        return render(scene, origins, directions, self.config.renderer, jitter, samples)

    def decide(self, scene: Scene) -> Tensor:
        """(X, Y, Z) metres over the occupancy grid: occupied where negative."""
        return decide(self.corner_distances(scene), self.config.decision)

    def corner_distances(self, scene: Scene) -> Tensor:
        """(X + 1, Y + 1, Z + 1) metres at the corners of the occupancy grid's voxels, ``Scene.boundary``."""
        return scene.boundary


def _folded(voxels: Tensor, x: int, y: int) -> Tensor:
    """Voxels (x * y * Z, C) as a plane (1, Z * C, x, y), heights folded into channels."""
    return voxels.reshape(1, x, y, -1).permute(0, 3, 1, 2)


def _pillars(plane: Tensor) -> Tensor:
    """A plane (1, Z, X, Y) of heights folded into channels as a float32 volume (X, Y, Z)."""
    return plane.float()[0].permute(1, 2, 0)


def _lattice(field: FieldConfig, counts: Sequence[int]) -> Tensor:
    """(X * Y * Z, 3) metres: points that fill the box evenly, both ends included."""
    axes = [torch.linspace(a, b, n) for a, b, n in zip(field.lower, field.upper, counts, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def _is_own(config: BackboneConfig) -> bool:
    return config.name == OWN_BACKBONE


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
    _check_widths(config)
    if len(config.decision.thresholds) not in (1, config.field.cells[2]):
        raise ConfigError(
            f"{config.name}: decision.thresholds must hold 1 value or one for each of the {config.field.cells[2]} "
            f"height layers, found {len(config.decision.thresholds)}."
        )
    return SelfOcc(config)


def _check_widths(config: ModelConfig) -> None:
    """Raises:
    ConfigError: channels that the blocks cannot be built of, or settings of one backbone given to the other.
    """
    backbone, encoder = config.backbone, config.encoder
    widths: dict[str, tuple[int, ...]] = {
        "backbone.neck": (backbone.neck,),
        "encoder.channels": (encoder.channels,),
        "encoder.fine": (encoder.fine,),
    }
    if _is_own(backbone):
        if backbone.depths or backbone.weights or backbone.frozen_stages >= 0:
            raise ConfigError(
                f"{config.name}: backbone.depths, weights and frozen_stages are for backbones of transformers, as "
                f"name: resnet; {OWN_BACKBONE!r} has neither stages to count nor weights to start from."
            )
        if len(backbone.channels) != len(STRIDES):
            raise ConfigError(
                f"{config.name}: backbone.channels must hold {len(STRIDES)} numbers, found {list(backbone.channels)}."
            )
        widths["backbone.channels"] = backbone.channels[1:]
    for name, values in widths.items():
        if any(value < GROUPS or value % GROUPS for value in values):
            raise ConfigError(
                f"{config.name}: {name} must be multiples of {GROUPS}, since channels are normalised in {GROUPS} "
                f"groups; found {', '.join(map(str, values))}."
            )


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
