# SPDX-License-Identifier: Apache-2.0
"""Configuration of the published SelfOcc networks: families ``tpv`` (three planes) and ``bev`` (one)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from selfocc_ros.configuration import ConfigError
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.model.config import IMAGENET_MEAN, IMAGENET_STD, DecisionConfig, ImageBackboneConfig, RendererConfig

FAMILIES = ("tpv", "bev")

AXES = ("forward_left_up", "right_forward_up")
"""How the axes x, y, z of a network's box may point, seen from the vehicle."""


@dataclass(frozen=True)
class PlaneInputConfig:
    """From a camera's image to the network's input.

    Without ``crop`` every image is scaled to fit into ``width`` x ``height``, as in the ``fast`` family, whatever the
    rig. With it, as published: an image is brought to ``camera_width``, its top left ``crop`` is kept and scaled by
    ``scale`` (sizes rounded down). Either way the image is normalised, and padded at the bottom and on the right with
    zeros, mean grey by then.
    """

    width: int = 800
    height: int = 384
    crop: tuple[int, int] | None = None
    """Width and height in pixels of an image ``camera_width`` wide. The top is kept: the bonnet is at the bottom."""
    camera_width: int | None = None
    scale: float = 1.0
    pad_ratio: tuple[float, float] | None = None
    """Network's width and height over the crop's, rounded as in the published configuration, since its network was
    trained with what follows from it; left out, what follows from the sizes."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of red, green and blue, 0..255."""
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def scaled_size(self) -> tuple[int, int]:
        """(width, height) in pixels of the scaled crop; without crop the most that an image may fill."""
        if self.crop is None:
            return self.width, self.height
        return int(self.crop[0] * self.scale), int(self.crop[1] * self.scale)

    @property
    def filled(self) -> tuple[float, float]:
        """Share of the network's width and height that the crop fills; the rest is padding."""
        if self.pad_ratio is not None:
            return self.scale / self.pad_ratio[0], self.scale / self.pad_ratio[1]
        width, height = self.scaled_size
        return width / self.width, height / self.height

    def trouble(self) -> str | None:
        """What does not hold together, in one sentence without its start."""
        if self.crop is None:
            given = {"camera_width": self.camera_width, "scale": self.scale != 1.0, "pad_ratio": self.pad_ratio}
            needless = [name for name, value in given.items() if value]
            return f"input.{needless[0]} needs input.crop: without it images are scaled to fit" if needless else None
        width, height = self.scaled_size
        if width > self.width or height > self.height:
            return (
                f"the scaled crop must fit into the input, found {width}x{height} pixels for {self.width}x{self.height}"
            )
        return None


@dataclass(frozen=True)
class BoxConfig:
    """The box that the planes span, in the frame that the network was trained in."""

    lower: tuple[float, float, float] = (-40.0, -40.0, -1.0)
    upper: tuple[float, float, float] = (40.0, 40.0, 5.4)
    nodes: tuple[int, int, int] = (257, 257, 25)
    """Along x, y and z, the first and the last on the borders of the box."""
    axes: str = "forward_left_up"
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """The box frame's origin in the ground frame (x forward, y left, z up, z = 0 the road below base_link), metres."""


@dataclass(frozen=True)
class PlaneEncoderConfig:
    """Deformable attention among planes and from planes to images (TPVFormer, BEVFormer)."""

    layers: int = 4
    channels: int = 96
    """Of the image features, the queries and the planes."""
    heads: int = 6
    feedforward: int = 192
    dropout: float = 0.1
    cross_points: tuple[int, int, int] = (48, 48, 8)
    """Anchors of a token along x, y or z, whichever axis its plane lacks."""
    self_points: int = 12
    """Samples per head and plane."""
    camera_directions: tuple[float, ...] = (0.0, -55.0, 55.0, 180.0, 110.0, -110.0)
    """Where the cameras of the training rig look, degrees counter-clockwise from ahead, one for each learned camera
    embedding. A camera takes the embedding whose direction is nearest, so rigs may differ and cameras may fail."""


@dataclass(frozen=True)
class HeadConfig:
    """From planes to the field."""

    colour: bool = True
    classes: tuple[int, ...] = ()
    """Label of each class channel; several channels may bear one label."""
    occupancy: bool = False
    """Logits of occupancy beside the distance: they start from it, learn from labels of voxels, and decide."""


@dataclass(frozen=True)
class PlaneRendererConfig(RendererConfig):
    """NeuS as SelfOcc has it, or as the ``fast`` family."""

    published: bool = True
    """Even sections, the field at their far ends from the gradient at their near ends, the cosine term of NeuS brought
    in over ``anneal_steps``. Off: sections as ``near_density`` says, the field read at both ends."""
    samples: int = 256
    near_density: float = 1.0
    log_sharpness: float = 0.1
    anneal_steps: int = 5000


@dataclass(frozen=True)
class QuirksConfig:
    """Slips of the published code that its checkpoints have learnt to live with; switch them off to train anew."""

    transposed_references: bool = True
    """``bev`` only. Self-attention stores a token's place as (row, column) and reads it as (x, y), so that each token
    looks around the place mirrored at the plane's diagonal. Off: around itself."""
    corner_pixels: bool = True
    """Projected pixels, whose integers are centres, are divided by the image size as if integers were the pixels' top
    left corners: features are read half a camera pixel too far up and left. Off: half a pixel is added first."""
    lost_ground: bool = True
    """The height above the road, which the distance is meant to start from, is written to a copy and lost, so that
    the field starts without a shape. Off: the height is added to the distance that the network gives."""


CORRECTED = QuirksConfig(transposed_references=False, corner_pixels=False, lost_ground=False)
"""How networks are trained anew."""


@dataclass(frozen=True)
class OccupancyConfig:
    """The voxels that are published, in the ground frame."""

    lower: tuple[float, float, float] = (-40.0, -40.0, -1.0)
    upper: tuple[float, float, float] = (40.0, 40.0, 5.4)
    cells: tuple[int, int, int] = (200, 200, 16)


@dataclass(frozen=True)
class PlaneConfig:
    """A whole network of family ``tpv`` or ``bev``."""

    name: str
    family: str
    input: PlaneInputConfig = dataclasses.field(default_factory=PlaneInputConfig)
    backbone: ImageBackboneConfig = dataclasses.field(default_factory=ImageBackboneConfig)
    planes: BoxConfig = dataclasses.field(default_factory=BoxConfig)
    encoder: PlaneEncoderConfig = dataclasses.field(default_factory=PlaneEncoderConfig)
    head: HeadConfig = dataclasses.field(default_factory=HeadConfig)
    renderer: PlaneRendererConfig = dataclasses.field(default_factory=PlaneRendererConfig)
    official_quirks: QuirksConfig = dataclasses.field(default_factory=QuirksConfig)
    occupancy: OccupancyConfig = dataclasses.field(default_factory=OccupancyConfig)
    decision: DecisionConfig = dataclasses.field(default_factory=lambda: DecisionConfig(lowest_corner=0.0))
    """A voxel is occupied where the distance, averaged over its corners, is below zero."""

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ConfigError(f"{self.name}: unknown family {self.family!r} (known: {', '.join(FAMILIES)}).")
        if self.planes.axes not in AXES:
            raise ConfigError(f"{self.name}: planes.axes must be {' or '.join(AXES)}, found {self.planes.axes!r}.")
        if self.head.classes and not self.head.colour:
            raise ConfigError(f"{self.name}: head.classes needs head.colour, since class channels follow the colour.")
        if self.head.occupancy and not self.head.colour:
            raise ConfigError(f"{self.name}: head.occupancy needs head.colour, which its channel follows.")
        if trouble := self.input.trouble():
            raise ConfigError(f"{self.name}: {trouble}.")
        if self.renderer.published and self.renderer.near_density != 1.0:
            raise ConfigError(
                f"{self.name}: renderer.near_density must be 1 with renderer.published, whose sections are even, "
                f"found {self.renderer.near_density}."
            )
        layers = self.occupancy.cells[2]
        if len(self.decision.thresholds) not in (1, layers):
            raise ConfigError(
                f"{self.name}: decision.thresholds must hold 1 value or one for each of the {layers} height layers, "
                f"found {len(self.decision.thresholds)}."
            )

    @property
    def grid(self) -> VoxelGrid:
        """Occupancy grid in metres around the ground below base_link."""
        return VoxelGrid(self.occupancy.lower, self.occupancy.upper, self.occupancy.cells)

    @property
    def features(self) -> int:
        """Channels of the field after the distance: colour, classes, occupancy."""
        return 3 * self.head.colour + len(self.head.classes) + self.head.occupancy
