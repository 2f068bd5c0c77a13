# SPDX-License-Identifier: Apache-2.0
"""SelfOcc as published: images -> ResNet -> pyramid -> planes of queries -> signed distance, colour and classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from selfocc_ros.model.image_backbone import ImageBackbone
from selfocc_ros.model.planes.config import PlaneConfig, PlaneInputConfig
from selfocc_ros.model.planes.encoder import PlaneEncoder
from selfocc_ros.model.planes.field import PillarField, Planes, TriplaneField
from selfocc_ros.model.planes.field_grid import FieldGrid
from selfocc_ros.model.planes.fpn import FeaturePyramid
from selfocc_ros.model.planes.geometry import BEV, TPV, PlaneGrid
from selfocc_ros.model.planes.ground_start import node_heights, raised, silence
from selfocc_ros.model.planes.neus import anneal_ratio
from selfocc_ros.model.planes.queries import PlaneQueries
from selfocc_ros.model.planes.rig_cache import PlaneRigCache
from selfocc_ros.model.planes.scene import PlaneScene, ground_from_box, render_published, to_ground
from selfocc_ros.model.renderer import Rendered, render
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.model.scene import Scene, trilinear
from selfocc_ros.model.selfocc import decide
from selfocc_ros.ops.slabs import for_each_slab

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Last parts of the names of what batch norm counts: stored, but no parameters."""


@dataclass(frozen=True)
class PlaneCache:
    """Everything that depends on the rig alone; computed once and reused until calibration changes.

    Attributes:
        encoder: which plane tokens each camera serves.
        used: (N, 1, height, width) one where an image shows something, zero where it is padded.
    """

    encoder: PlaneRigCache
    used: Tensor


class PlaneSelfOcc(nn.Module):
    """The families ``tpv`` and ``bev`` (SelfOcc, Huang et al. 2024)."""

    mean: Tensor
    std: Tensor
    ground: Tensor
    directions: Tensor
    corners: Tensor

    def __init__(self, config: PlaneConfig) -> None:
        super().__init__()
        self.config = config
        box, encoder = config.planes, config.encoder
        planes = TPV if config.family == "tpv" else BEV
        grid = PlaneGrid(box.lower, box.upper, box.nodes)
        self.backbone = ImageBackbone(config.backbone)
        self.neck = FeaturePyramid(config.backbone.channels, encoder.channels)
        self.lifter = PlaneQueries(grid, planes, encoder.channels)
        self.encoder = PlaneEncoder(
            grid,
            planes,
            cameras=len(encoder.camera_directions),
            dim=encoder.channels,
            heads=encoder.heads,
            layers=encoder.layers,
            levels=len(config.backbone.channels),
            hidden=encoder.feedforward,
            anchors=encoder.cross_points,
            self_points=encoder.self_points,
            dropout=encoder.dropout,
            official_quirks=config.official_quirks.transposed_references,
        )
        sharpness = config.renderer.log_sharpness
        self.field: TriplaneField | PillarField
        if config.family == "tpv":
            self.field = TriplaneField(encoder.channels, config.features, box.lower, box.upper, variance=sharpness)
        else:
            self.field = PillarField(
                encoder.channels, box.nodes[2], config.features, box.lower, box.upper, variance=sharpness
            )
        self.heights: Tensor | None
        self.register_buffer("heights", None, persistent=False)
        if not config.official_quirks.lost_ground:
            self.heights = node_heights(box)
            silence(self.field, config.features, 0)
        if config.head.occupancy:
            silence(self.field, config.features, config.features)
        # An entry of official checkpoints, see names.NEVER_READ.
        self.register_buffer("field_background", torch.ones(1))
        self.register_buffer("mean", torch.tensor(config.input.mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.input.std).reshape(3, 1, 1), persistent=False)
        directions = torch.tensor(encoder.camera_directions).deg2rad()
        self.register_buffer("directions", directions, persistent=False)
        occupancy = config.occupancy
        ends = zip(occupancy.lower, occupancy.upper, occupancy.cells, strict=True)
        axes = [torch.linspace(low, high, cells + 1) for low, high, cells in ends]
        corners = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        self.register_buffer("corners", corners, persistent=False)

    @property
    def parameter_count(self) -> int:
        """Number of learnt values, those that training leaves as they are included: stem, box, background."""
        return sum(value.numel() for name, value in self.state_dict().items() if not name.endswith(STATISTICS))

    @property
    def log_sharpness(self) -> nn.Parameter:
        """The learnt v of the sharpness s = exp(10 v) in 1/m."""
        return self.field.deviation_network.variance

    def load_pretrained(self) -> None:
        """Take over the backbone weights that the configuration names, if any: for the start of training.

        Raises:
            ConfigError: with one sentence, if they are not to be had, or are those of another network.
        """
        self.backbone.load_pretrained()

    def prepare(self, rig: RigTensors) -> PlaneCache:
        """Geometry of a rig whose images are of the configured input size."""
        config, device = self.config, self.directions.device
        poses = rig.base_from_camera.double().cpu()
        box_from_camera = torch.linalg.inv(ground_from_box(config.planes)) @ poses
        crop_from_camera = crop_intrinsics(rig.intrinsics, config.input, config.official_quirks.corner_pixels)
        if config.input.crop is None:
            shown, filled = rig.sizes.cpu(), rig.sizes.cpu() / torch.tensor([config.input.width, config.input.height])
        else:
            shown, filled = torch.tensor(config.input.crop), torch.tensor(config.input.filled).expand(len(rig), 2)
        cache = self.encoder.prepare(
            crop_from_camera @ torch.linalg.inv(box_from_camera),
            shown.flip(-1),
            filled,
            nearest_directions(poses, self.directions.cpu()),
        )
        columns = torch.arange(config.input.width, device=device) < rig.sizes[:, 0].to(device).reshape(-1, 1, 1, 1)
        rows = torch.arange(config.input.height, device=device) < rig.sizes[:, 1].to(device).reshape(-1, 1, 1, 1)
        return PlaneCache(cache, (rows.transpose(-1, -2) & columns).float())

    def encode(self, images: Tensor, cache: PlaneCache) -> PlaneScene:
        """Encode one moment.

        Args:
            images: (N, 3, height, width) RGB, 0..255, of the configured input size, zero where nothing is seen.
            cache: geometry of the same N cameras.
        """
        grid = self.field_grid(self.planes(self.features((images - self.mean) / self.std * cache.used), cache))
        return PlaneScene.of(grid, self.field.sharpness, self.config.head.occupancy)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps (N, C, h, w) at strides 4, 8, 16, 32 of normalised images (N, 3, height, width)."""
        if images.is_cuda or self.training or torch.is_grad_enabled():
            maps: list[Tensor] = self.neck(self.backbone(images))
            return maps
        # A CPU is spared fresh memory for maps of all cameras at once, which costs as much again as computing them.
        cameras = torch.split(images.contiguous(memory_format=torch.channels_last), 1)
        by_camera: list[list[Tensor]] = [[]] * len(cameras)

        def see(camera: int) -> None:
            by_camera[camera] = self.neck(self.backbone(cameras[camera]))

        for_each_slab(see, range(len(cameras)), images.device)
        return [torch.cat(level) for level in zip(*by_camera, strict=True)]

    def planes(self, features: list[Tensor], cache: PlaneCache) -> Planes:
        """Planes in the frame of the box of feature maps (N, C, h, w)."""
        tokens = self.encoder(self.lifter(), features, cache.encoder)
        return Planes.from_tokens(self.config.planes.nodes, **tokens)

    def field_grid(self, planes: Planes, with_features: bool = True) -> FieldGrid:
        """The field of planes, in the ground frame."""
        grid = self.field(planes, with_features)
        return to_ground(grid if self.heights is None else raised(grid, self.heights), self.config.planes)

    def render(
        self,
        scene: PlaneScene,
        origins: Tensor,
        directions: Tensor,
        jitter: Tensor | None = None,
        samples: int | None = None,
        step: int | None = None,
    ) -> Rendered:
        """Render rays of a scene of this network, the way its configuration says.

        Args:
            origins, directions: (R, 3) metres and unit vectors in the ground frame.
            jitter: (R, 1) uniform in 0..1 for training, None for the same sections each time.
            samples: sections per ray, when other than configured.
            step: of training, for what is brought in bit by bit; None once it is trained.
        """
        config = self.config.renderer
        if not config.published:
            return render(scene, origins, directions, config, jitter, samples)
        anneal = 1.0 if step is None else anneal_ratio(step, config.anneal_steps)
        return render_published(scene, origins, directions, samples or config.samples, anneal, jitter)

    def decide(self, scene: PlaneScene) -> Tensor:
        """(X, Y, Z) metres over the occupancy grid: occupied where negative."""
        return decide(self.corner_distances(scene), self.config.decision)

    def corner_distances(self, scene: Scene) -> Tensor:
        """(X + 1, Y + 1, Z + 1) metres at the corners of the occupancy grid's voxels, of ``Scene.boundary``."""
        return trilinear(scene.boundary[None], self.corners, scene.lower, scene.upper)[..., 0]


def crop_intrinsics(intrinsics: Tensor, config: PlaneInputConfig, corner_pixels: bool) -> Tensor:
    """Cameras in the pixels that the published geometry is told in: those of the crop before it is scaled.

    Ours, (N, 4) as fx, fy, cx, cy, are in pixels of the network's input, and without crop they stay so. Both have pixel
    centres at integers, so that scaling by s takes u to s (u + 0.5) - 0.5. The published code divides by the crop's
    size as if integers were the pixels' corners (``QuirksConfig.corner_pixels``); without that slip the centres move to
    n + 0.5 first.

    Returns:
        (N, 4, 4) float64, camera frame to (u d, v d, d, 1).
    """
    values = intrinsics.double().cpu()
    full = config.crop or config.scaled_size
    scale = torch.tensor(config.scaled_size, dtype=torch.float64) / torch.tensor(full, dtype=torch.float64)
    matrices = torch.eye(4, dtype=torch.float64).repeat(len(values), 1, 1)
    matrices[:, [0, 1], [0, 1]] = values[:, :2] / scale
    matrices[:, :2, 2] = (values[:, 2:] + 0.5) / scale - (0.5 if corner_pixels else 0.0)
    return matrices


def nearest_directions(base_from_camera: Tensor, directions: Tensor) -> Tensor:
    """(N,) index of the direction, of (D,) in radians counter-clockwise from ahead, nearest to where a camera looks."""
    looking = torch.atan2(base_from_camera[:, 1, 2], base_from_camera[:, 0, 2])
    return (looking[:, None] - directions).cos().argmax(dim=-1)
