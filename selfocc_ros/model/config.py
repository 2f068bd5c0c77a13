# SPDX-License-Identifier: Apache-2.0
"""Configuration of a network: what travels in every checkpoint and is enough to rebuild it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selfocc_ros.configuration import ConfigError, config_path, from_mapping, nearest_hint, read_yaml
from selfocc_ros.geometry.voxels import VoxelGrid

if TYPE_CHECKING:
    from selfocc_ros.model.planes.config import PlaneConfig

OWN_BACKBONE = "own"
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of red, green and blue, 0..255: what images are normalised with for weights that were trained on ImageNet."""


@dataclass(frozen=True)
class InputConfig:
    """Size in pixels to which every camera is scaled; smaller or narrower images are padded, never stretched."""

    width: int = 256
    height: int = 144


@dataclass(frozen=True)
class ImageBackboneConfig:
    """Convolutional backbone of Hugging Face ``transformers``: four maps at strides 4, 8, 16, 32."""

    name: str = "resnet"
    """Model type in transformers' AutoConfig."""
    depths: tuple[int, ...] = (3, 4, 6, 3)
    channels: tuple[int, ...] = (256, 512, 1024, 2048)
    weights: str = "microsoft/resnet-50"
    """Where training starts: a name on the Hugging Face hub, a local folder, or nothing for random weights."""
    frozen_stages: int = 0
    """-1 trains everything, 0 freezes the stem, n also the first n stages."""


@dataclass(frozen=True)
class BackboneConfig(ImageBackboneConfig):
    """Backbone of the ``fast`` family: a small pyramid of its own, or one of ``transformers``."""

    name: str = OWN_BACKBONE
    """``own``, which knows ``channels`` and ``neck`` alone, or a model type as in ``ImageBackboneConfig``."""
    depths: tuple[int, ...] = ()
    channels: tuple[int, ...] = (32, 48, 80, 96)
    """Channels at strides 2, 4, 8, 16, or at 4, 8, 16, 32 with ``transformers``."""
    weights: str = ""
    frozen_stages: int = -1
    neck: int = 64
    """Channels of the fused feature map at stride 4."""


@dataclass(frozen=True)
class LiftingConfig:
    """Image features to the volume, gated by a per-pixel distribution over distance."""

    plain: int = 20
    """Channels lifted as they are."""
    gated: int = 10
    """Channels weighted by the probability that the pixel's surface lies at the voxel's distance."""
    depth_bins: int = 48
    depth_range: tuple[float, float] = (1.0, 80.0)
    """Nearest and farthest bin in metres along the ray; bins are spaced evenly in log distance."""
    heights: int = 9
    """Height levels of the lifted volume, both ends of the box included."""
    fine: int = 0
    """Gated channels that are lifted at the field's resolution as well, past the bird's eye encoder: it sees cells
    twice as large, in which a near car and the gap beside it are one. 0 does without."""


@dataclass(frozen=True)
class EncoderConfig:
    """2D convolutions over the bird's eye plane, heights folded into channels."""

    channels: int = 96
    blocks: tuple[int, ...] = (2, 2, 1)
    """Residual blocks at full, half and quarter resolution."""
    fine: int = 40
    """Channels after upsampling to the field's resolution."""
    fine_blocks: int = 0
    """Residual blocks there."""


@dataclass(frozen=True)
class FieldConfig:
    """Signed distance field over nodes; nodes lie on both ends of the box, so cells are the occupancy voxels."""

    lower: tuple[float, float, float] = (-40.0, -40.0, -1.0)
    upper: tuple[float, float, float] = (40.0, 40.0, 5.4)
    cells: tuple[int, int, int] = (200, 200, 16)
    prior_range: tuple[float, float] = (-1.0, 2.0)
    """The field starts as flat ground: height above z = 0, clamped to this range in metres."""


@dataclass(frozen=True)
class FieldHeadConfig:
    """What the field tells beside distance and colour. Without either, weights are those of a network of old."""

    classes: tuple[str, ...] = ()
    """Name of each class, whose index is its label; empty space is none of them, but what is not occupied."""
    occupancy: bool = False
    """Logits of occupancy beside the distance: they start from it, learn from labels of voxels, and decide."""


@dataclass(frozen=True)
class RendererConfig:
    """NeuS volume rendering."""

    samples: int = 64
    """Sections per ray."""
    near_density: float = 3.0
    """How much denser sections lie at the near end than at the far end; 1 is uniform."""
    log_sharpness: float = 0.1
    """Initial v of the sharpness s = exp(10 v) in 1/m (SelfOcc starts at v = 0.1)."""


@dataclass(frozen=True)
class DecisionConfig:
    """When a voxel is occupied: a x lowest corner + (1 - a) x mean of the corners is below a threshold, in metres.

    One threshold for all height layers, or one for each from the lowest up: next to the ground a coarse threshold
    would thicken it by a layer, and higher up a fine one would lose walls.
    """

    thresholds: tuple[float, ...] = (0.0,)
    lowest_corner: float = 0.5


@dataclass(frozen=True)
class ModelConfig:
    """A whole network."""

    name: str
    family: str = "fast"
    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    backbone: BackboneConfig = dataclasses.field(default_factory=BackboneConfig)
    lifting: LiftingConfig = dataclasses.field(default_factory=LiftingConfig)
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    head: FieldHeadConfig = dataclasses.field(default_factory=FieldHeadConfig)
    renderer: RendererConfig = dataclasses.field(default_factory=RendererConfig)
    decision: DecisionConfig = dataclasses.field(default_factory=DecisionConfig)

    @property
    def grid(self) -> VoxelGrid:
        """Occupancy grid in metres around the ground below base_link."""
        return VoxelGrid(self.field.lower, self.field.upper, self.field.cells)


def parse_model_config(values: Mapping[str, Any], where: str) -> ModelConfig | PlaneConfig:
    """Configuration of whatever family ``values`` name; ``where`` names the file in error messages.

    Raises:
        ConfigError: if the family is unknown, a key is unknown or missing, or a value is of the wrong type.
    """
    from selfocc_ros.model.planes.config import FAMILIES, PlaneConfig

    family = values.get("family", "fast")
    if family == "fast":
        return from_mapping(ModelConfig, values, where)
    if family in FAMILIES:
        return from_mapping(PlaneConfig, values, where)
    raise ConfigError(f"{where}: unknown family {family!r}{nearest_hint(str(family), ('fast', *FAMILIES))}.")


def load_model_config(name_or_path: str) -> ModelConfig | PlaneConfig:
    """Configuration by name (``tiny``: ``config/models/tiny.yaml``) or by path of a YAML file.

    Raises:
        ConfigError: if there is no such configuration, or it has unknown keys or values of the wrong type.
    """
    path = config_path("config/models", name_or_path)
    return parse_model_config(read_yaml(path), path.name)
