# SPDX-License-Identifier: Apache-2.0
"""Self-attention of the planes: every token looks around itself in its own plane and across the other planes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selfocc_ros.model.planes.geometry import Plane, PlaneGrid
from selfocc_ros.model.planes.sampling import DeformableSampling, cell_sizes, row_by_row
from selfocc_ros.model.planes.slab_attention import self_attention_in_slabs
from selfocc_ros.ops.deformable_attention import deformable_attention, samples_in_slabs


def hybrid_references(grid: PlaneGrid, planes: Sequence[Plane], points: int) -> Tensor:
    """References of cross-view hybrid attention (TPVFormer, sec. 3.3): where each sample of each token starts.

    Along an axis that the token has, a sample starts at the token's index; along the axis that it lacks, the samples
    spread over the whole extent. As published, an index becomes a share of the extent by division by the number of
    nodes, which is half a cell before the node's centre.

    Returns:
        (tokens of all planes, planes, points, 2) as (x, y) = (column, row), each 0..1.
    """
    return torch.cat([_references_from(grid, source, planes, points) for source in planes])


def _references_from(grid: PlaneGrid, source: Plane, planes: Sequence[Plane], points: int) -> Tensor:
    own = grid.indices(source)

    def share(axis: int) -> Tensor:
        nodes = grid.nodes[axis]
        index = own[axis].unsqueeze(1) if axis in own else torch.linspace(0, nodes - 1, points)
        return (index / nodes).expand(grid.tokens(source), points)

    return torch.stack(
        [torch.stack([share(target.columns), share(target.rows)], dim=-1) for target in planes],
        dim=1,
    )


def bird_eye_references(grid: PlaneGrid, plane: Plane, official_quirks: bool) -> Tensor:
    """One reference per token of a single plane: the token's own place.

    The published bird's eye networks store (row / (rows - 1), column / (columns - 1)) and read it as (x, y), so that
    a token looks around the place mirrored at the plane's diagonal. Their weights were learnt that way and need
    ``official_quirks``; without it, a token looks around the centre of its own cell.

    Returns:
        (tokens, 1, 1, 2) as (x, y), each 0..1.
    """
    rows, columns = grid.shape(plane)
    indices = grid.indices(plane)
    row, column = indices[plane.rows], indices[plane.columns]
    if official_quirks:
        reference = torch.stack([row / (rows - 1), column / (columns - 1)], dim=-1)
    else:
        reference = torch.stack([(column + 0.5) / columns, (row + 0.5) / rows], dim=-1)
    return reference[:, None, None]


class PlaneSelfAttention(DeformableSampling):
    """Deformable attention from all tokens to all planes, each plane one level; adds its result to its input.

    Args:
        dim, heads: as for ``DeformableSampling``.
        shapes: (rows, columns) of each plane.
        points: samples per head and plane.
        dropout: probability.
    """

    def __init__(self, dim: int, heads: int, shapes: Sequence[tuple[int, int]], points: int, dropout: float) -> None:
        super().__init__(dim, heads, len(shapes), points, fan_out=True)
        self.shapes = tuple(shapes)
        self.output_proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.output_proj.weight)
        nn.init.zeros_(self.output_proj.bias)

    def forward(self, tokens: Tensor, positions: Tensor, references: Tensor, slab_samples: int) -> Tensor:
        """Attend.

        Args:
            tokens: (T, dim) of all planes one after the other.
            positions: (T, dim), added to the queries but not to the values.
            references: (T, planes, points or 1, 2) as (x, y), each 0..1.
            slab_samples: queries are taken in slabs of about so many samples, which bounds the memory.
        """
        if samples_in_slabs(tokens):
            sampled = self_attention_in_slabs(self, self.shapes, tokens, positions, references, slab_samples)
        else:
            sampled = self._sampled(tokens, positions, references, slab_samples)
        return row_by_row(lambda own, found: own + self.dropout(self.output_proj(found)), tokens, sampled)

    def _sampled(self, tokens: Tensor, positions: Tensor, references: Tensor, slab_samples: int) -> Tensor:
        values = self.values(tokens.unsqueeze(0))
        cells = cell_sizes(self.shapes, tokens.device)
        slab = max(1, slab_samples // self.samples_per_query)
        sampled = []
        for own, starts in zip(torch.split(tokens + positions, slab), torch.split(references, slab), strict=True):
            offsets, weights = self.offsets_and_weights(own)
            locations = torch.addcmul(starts.unsqueeze(1), offsets, cells)
            sampled.append(deformable_attention(values, self.shapes, locations.unsqueeze(0), weights.unsqueeze(0))[0])
        return torch.cat(sampled)
