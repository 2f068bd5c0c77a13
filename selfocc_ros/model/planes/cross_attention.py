# SPDX-License-Identifier: Apache-2.0
"""Image cross-attention: plane tokens gather image features around the projections of their anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from selfocc_ros.model.planes.geometry import Plane, PlaneGrid
from selfocc_ros.model.planes.rig_cache import PlaneRigCache, Slab
from selfocc_ros.model.planes.sampling import DeformableSampling, cell_sizes, row_by_row, sampling_reach, within_reach
from selfocc_ros.model.planes.slab_attention import cross_attention_in_slabs
from selfocc_ros.ops.deformable_attention import deformable_attention, samples_in_slabs

BUNDLE_SIZES = (8, 6, 4)
"""Anchors that are sampled or left out together: the first that divides a token's anchors."""


@dataclass(frozen=True)
class ImageTokens:
    """Image features of a rig.

    Attributes:
        tokens: (N, T, dim) per camera, the levels one after the other, finest first, row by row.
        shapes: (rows, columns) of each level.
    """

    tokens: Tensor
    shapes: tuple[tuple[int, int], ...]


class ImageCrossAttention(nn.Module):
    """Spatial cross-attention of one plane (BEVFormer, Li et al. 2022, eq. 4); adds its result to its input.

    A camera serves the tokens that have an anchor in its image. There each head samples every level once per anchor,
    around the anchor's projection, those outside the image (where features are zero) included. The results of the
    cameras that serve a token are averaged.

    A long line of anchors is mostly outside the image, so anchors are sampled in bundles of neighbours, and bundles
    too far outside for the learnt offsets to reach back into the image are left out; that changes no result.
    """

    def __init__(self, plane: str, dim: int, heads: int, levels: int, points: int, dropout: float) -> None:
        super().__init__()
        self.plane = plane
        self.bundles = points // next((size for size in BUNDLE_SIZES if points % size == 0), points)
        self.deformable_attention = DeformableSampling(dim, heads, levels, points, fan_out=False)
        self.output_proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.output_proj.weight)
        nn.init.zeros_(self.output_proj.bias)

    def forward(self, tokens: Tensor, image: ImageTokens, cache: PlaneRigCache) -> Tensor:
        """(T, dim) of this plane to the same shape."""
        hits = cache.planes[self.plane]
        sampling = self.deformable_attention
        if samples_in_slabs(tokens):
            summed = cross_attention_in_slabs(sampling, self.bundles, image.shapes, tokens, image.tokens, hits)
        else:
            values = torch.split(sampling.values(image.tokens), 1)
            cells = cell_sizes(image.shapes, tokens.device)
            summed = torch.cat([self._sum_of_cameras(tokens, slab, values, image.shapes, cells) for slab in hits.slabs])
        cameras = hits.counts.clamp(min=1).unsqueeze(-1)
        return row_by_row(
            lambda own, found, count: own + self.dropout(self.output_proj(found / count)), tokens, summed, cameras
        )

    def _sum_of_cameras(
        self,
        tokens: Tensor,
        slab: Slab,
        values: Sequence[Tensor],
        shapes: tuple[tuple[int, int], ...],
        cells: Tensor,
    ) -> Tensor:
        """What all cameras give to a slab of tokens: (slab, dim)."""
        queries = tokens[slab.start : slab.stop]
        summed = torch.zeros_like(queries)
        if not slab.hits:
            return summed
        # Offsets and weights are the same for every camera.
        offsets, weights = self.deformable_attention.offsets_and_weights(queries)
        reach = sampling_reach(offsets, cells)
        offsets, weights = self._bundled(offsets), self._bundled(weights)
        for hit in slab.hits:
            references = hit.references.view(len(hit.rows), self.bundles, -1, 2)
            token, bundle = within_reach(references, reach[hit.rows]).nonzero(as_tuple=True)
            rows = hit.rows[token]
            chosen = rows * self.bundles + bundle
            locations = torch.addcmul(references[token, bundle][:, None, None], offsets[chosen], cells)
            seen = deformable_attention(values[hit.camera], shapes, locations[None], weights[chosen][None])[0]
            summed = summed.index_add(0, rows, seen.to(summed.dtype))
        return summed

    def _bundled(self, samples: Tensor) -> Tensor:
        """(Q, heads, levels, points, ...) to (Q * bundles, heads, levels, points of a bundle, ...)."""
        return samples.view(*samples.shape[:3], self.bundles, -1, *samples.shape[4:]).movedim(3, 1).flatten(0, 1)


class PlanesCrossAttention(nn.Module):
    """Image cross-attention of several planes, each with its own weights."""

    def __init__(
        self,
        grid: PlaneGrid,
        planes: Sequence[Plane],
        dim: int,
        heads: int,
        levels: int,
        points: Mapping[str, int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.sizes = [grid.tokens(plane) for plane in planes]
        self.names = [f"attn_{plane.name}" for plane in planes]
        for name, plane in zip(self.names, planes, strict=True):
            self.add_module(name, ImageCrossAttention(plane.name, dim, heads, levels, points[plane.name], dropout))

    def forward(self, tokens: Tensor, image: ImageTokens, cache: PlaneRigCache) -> Tensor:
        """(T, dim) of all planes one after the other, to the same shape."""
        parts = zip(self.names, torch.split(tokens, self.sizes), strict=True)
        return torch.cat([self.get_submodule(name)(part, image, cache) for name, part in parts])
