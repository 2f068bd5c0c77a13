# SPDX-License-Identifier: Apache-2.0
"""The encoder of the published SelfOcc: planes attend to themselves and to the images, layer after layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from selfocc_ros.model.planes.cross_attention import ImageCrossAttention, ImageTokens, PlanesCrossAttention
from selfocc_ros.model.planes.geometry import Plane, PlaneGrid
from selfocc_ros.model.planes.positions import PlanePositions
from selfocc_ros.model.planes.rig_cache import PlaneRigCache, plane_hits
from selfocc_ros.model.planes.sampling import DeformableSampling, row_by_row
from selfocc_ros.model.planes.self_attention import PlaneSelfAttention, bird_eye_references, hybrid_references

NORM_EPSILON = 1e-5
SLAB_SAMPLES = {"cpu": 2**18, "cuda": 2**24}
"""Attention samples held at a time: as many as a core's cache holds, or enough to pay for the launches."""
TRAINING_SLAB_SAMPLES = {"cpu": 2**22, "cuda": 2**24}
"""The same with gradients, where each slab costs a pass over all values as well."""


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between; adds its result to its input. Named as in the published checkpoints."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        widen = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout))
        self.layers = nn.Sequential(widen, nn.Linear(hidden, dim), nn.Dropout(dropout))

    def forward(self, tokens: Tensor) -> Tensor:
        """(T, dim) to the same shape."""
        return row_by_row(lambda own: own + self.layers(own), tokens)


class EncoderLayer(nn.Module):
    """Self-attention, image cross-attention and feed-forward, each followed by a layer norm.

    Norms and feed-forward serve all planes. ``attentions``, ``norms`` and ``ffns`` are named, and lie in lists, as in
    the published checkpoints.
    """

    def __init__(
        self,
        self_attention: PlaneSelfAttention,
        cross_attention: ImageCrossAttention | PlanesCrossAttention,
        dim: int,
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([self_attention, cross_attention])
        self.norms = nn.ModuleList(nn.LayerNorm(dim, eps=NORM_EPSILON) for _ in range(3))
        self.ffns = nn.ModuleList([FeedForward(dim, hidden, dropout)])

    def forward(
        self, tokens: Tensor, positions: Tensor, references: Tensor, image: ImageTokens, cache: PlaneRigCache
    ) -> Tensor:
        """(T, dim) of all planes to the same shape."""
        tokens = self.norms[0](self.attentions[0](tokens, positions, references, cache.slab_samples))
        tokens = self.norms[1](self.attentions[1](tokens, image, cache))
        out: Tensor = self.norms[2](self.ffns[0](tokens))
        return out


class PlaneEncoder(nn.Module):
    """Planes of learned queries to planes of scene features (SelfOcc, Huang et al. 2024, sec. 3.2).

    With the three planes ``TPV`` this is TPVFormer's encoder with cross-view hybrid attention, with the one plane
    ``BEV`` it is BEVFormer's without history. Parameters bear the names of the published checkpoints below
    ``encoder.``. Forward hooks on ``layers[i]``, its ``attentions``, ``norms`` and ``ffns`` see every intermediate
    value, since each adds its own residual.

    Args:
        grid: the nodes.
        planes: ``TPV`` or ``BEV``.
        cameras: number of camera embeddings.
        dim: channels of tokens and feature maps.
        heads: attention heads.
        layers: number of layers.
        levels: number of feature maps per camera.
        hidden: channels of the feed-forward networks.
        anchors: anchors of a token along x, y and z, of which a plane uses that of the axis which it lacks. (Published
            configurations list y, x, z.)
        self_points: samples per head and plane of self-attention.
        dropout: probability, behind every attention and in the feed-forward networks.
        official_quirks: whether the bird's eye self-attention looks around mirrored places as the published networks
            do, see ``bird_eye_references``. Three planes have no such quirk.
        checkpoint_layers: whether training keeps only the layers' inputs and computes the rest again on the way back:
            a third more time for a fraction of the memory.
    """

    references: Tensor

    def __init__(
        self,
        grid: PlaneGrid,
        planes: Sequence[Plane],
        cameras: int,
        dim: int = 96,
        heads: int = 6,
        layers: int = 4,
        levels: int = 4,
        hidden: int = 192,
        anchors: tuple[int, int, int] = (48, 48, 8),
        self_points: int = 12,
        dropout: float = 0.1,
        official_quirks: bool = True,
        checkpoint_layers: bool = True,
    ) -> None:
        super().__init__()
        self.grid, self.planes = grid, tuple(planes)
        self.checkpoint_layers = checkpoint_layers
        self.level_embeds = nn.Parameter(torch.empty(levels, dim))
        self.cams_embeds = nn.Parameter(torch.empty(cameras, dim))
        self.positional_encoding = PlanePositions(grid, planes, dim)
        points = {plane.name: anchors[plane.lacks] for plane in planes}
        self.slab_shares = {name: heads * levels * count for name, count in points.items()}
        shapes = [grid.shape(plane) for plane in planes]
        self.layers = nn.ModuleList()
        for _ in range(layers):
            own = PlaneSelfAttention(dim, heads, shapes, self_points, dropout)
            cross: ImageCrossAttention | PlanesCrossAttention
            if len(planes) > 1:
                cross = PlanesCrossAttention(grid, planes, dim, heads, levels, points, dropout)
            else:
                cross = ImageCrossAttention(planes[0].name, dim, heads, levels, points[planes[0].name], dropout)
            self.layers.append(EncoderLayer(own, cross, dim, hidden, dropout))
        if len(planes) > 1:
            references = hybrid_references(grid, planes, self_points)
        else:
            references = bird_eye_references(grid, planes[0], official_quirks)
        self.register_buffer("references", references, persistent=False)
        for plane in planes:
            anchor_points = grid.anchors(plane, points[plane.name])
            self.register_buffer(f"anchors_{plane.name}", anchor_points, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier for all matrices, then what deformable attention starts with; standard normal embeddings."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, DeformableSampling):
                module.reset_sampling()
        nn.init.normal_(self.level_embeds)
        nn.init.normal_(self.cams_embeds)

    @torch.no_grad()
    def prepare(
        self,
        images_from_box: Tensor,
        image: tuple[int, int] | Tensor,
        focal_ratios: Tensor | None = None,
        cameras: Tensor | None = None,
        slab_samples: int | None = None,
    ) -> PlaneRigCache:
        """Geometry of a rig of N cameras.

        Args:
            images_from_box: (N, 4, 4) box frame to pixel * depth, in pixels of the crop.
            image: (height, width) of the crop in these pixels, or (N, 2) where cameras differ.
            focal_ratios: (N, 2) share of the network's input along x and y that the crop fills, where it is padded.
            cameras: (N,) which camera embedding each camera uses; the first N without it.
            slab_samples: attention samples held at a time; by default what suits the device, and training or
                evaluation, whichever the module is set to.
        """
        device = self.references.device
        matrices = images_from_box.to(device, torch.float32)
        sizes = torch.as_tensor(image, dtype=torch.float32, device=device).flip(-1).expand(len(matrices), 2)
        ratios = None if focal_ratios is None else focal_ratios.to(device, torch.float32)
        cameras = torch.arange(len(matrices)) if cameras is None else cameras
        if cameras.shape != matrices.shape[:1] or bool((cameras >= len(self.cams_embeds)).any()):
            raise ValueError(
                f"each of {len(matrices)} cameras needs one of the encoder's {len(self.cams_embeds)} camera "
                f"embeddings, found {cameras.tolist()}"
            )
        by_device = TRAINING_SLAB_SAMPLES if self.training else SLAB_SAMPLES
        samples = slab_samples or by_device.get(device.type, by_device["cuda"])
        planes = {
            name: plane_hits(
                self.get_buffer(f"anchors_{name}"), matrices, sizes, ratios, max(1, samples // samples_per_token)
            )
            for name, samples_per_token in self.slab_shares.items()
        }
        return PlaneRigCache(cameras.to(device), planes, samples)

    def forward(self, queries: Tensor, feature_maps: Sequence[Tensor], cache: PlaneRigCache) -> dict[str, Tensor]:
        """Encode one moment.

        Args:
            queries: (T, dim) of all planes one after the other, from ``PlaneQueries``.
            feature_maps: per level, finest first, (N, dim, h, w).
            cache: geometry of the same N cameras.

        Returns:
            (tokens, dim) by the name of the plane, row by row: hw (y, x), and with three planes zh (z, y), wz (x, z).
        """
        image = self._image_tokens(feature_maps, cache.cameras)
        positions = self.positional_encoding()
        tokens = queries
        for layer in self.layers:
            if self.checkpoint_layers and self.training and torch.is_grad_enabled():
                tokens = checkpoint(layer, tokens, positions, self.references, image, cache, use_reentrant=False)
            else:
                tokens = layer(tokens, positions, self.references, image, cache)
        parts = torch.split(tokens, [self.grid.tokens(plane) for plane in self.planes])
        return {plane.name: part for plane, part in zip(self.planes, parts, strict=True)}

    def _image_tokens(self, feature_maps: Sequence[Tensor], cameras: Tensor) -> ImageTokens:
        """Flattened feature maps, each token told its camera and its level."""
        if len(feature_maps) != len(self.level_embeds):
            raise ValueError(f"the encoder takes {len(self.level_embeds)} feature maps, found {len(feature_maps)}")
        camera_embeds = self.cams_embeds[cameras].unsqueeze(1)
        levels = [
            features.flatten(2).transpose(1, 2) + camera_embeds + embed
            for features, embed in zip(feature_maps, self.level_embeds, strict=True)
        ]
        shapes = tuple((features.shape[2], features.shape[3]) for features in feature_maps)
        return ImageTokens(torch.cat(levels, dim=1), shapes)
