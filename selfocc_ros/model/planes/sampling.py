# SPDX-License-Identifier: Apache-2.0
"""What both attentions of the encoder share: learned values, offsets and weights of deformable attention."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfocc_ros.ops.slabs import for_each_slab

ROWS = 2**11
"""Tokens whose channels, and those between two linear layers, a core's cache holds."""


class DeformableSampling(nn.Module):
    """Projections of multi-scale deformable attention (Deformable DETR, Zhu et al. 2021, eq. 3).

    Args:
        dim: channels of queries and values, a multiple of ``heads``.
        heads: attention heads.
        levels: maps that each query samples.
        points: samples per head and level.
        fan_out: whether the samples of a head start one behind the other, 1, 2, 3, ... cells from the reference;
            else all start one cell from it, which suits samples that have a reference each.
    """

    def __init__(self, dim: int, heads: int, levels: int, points: int, fan_out: bool) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"the channels must be a multiple of the {heads} heads, found {dim}")
        self.heads, self.levels, self.points, self.fan_out = heads, levels, points, fan_out
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.reset_sampling()

    @property
    def samples_per_query(self) -> int:
        """Samples of all heads, levels and points."""
        return self.heads * self.levels * self.points

    def reset_sampling(self) -> None:
        """Starts with equal weights and each head looking its own way, whatever the query."""
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, self.points + 1) if self.fan_out else torch.ones(self.points)
        offsets = directions[:, None, None] * steps[:, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.levels, -1, -1).reshape(-1))
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        nn.init.xavier_uniform_(self.value_proj.weight)
        nn.init.zeros_(self.value_proj.bias)

    def values(self, tokens: Tensor) -> Tensor:
        """(B, T, dim) to values (B, T, heads, dim / heads)."""
        values: Tensor = self.value_proj(tokens)
        return values.view(*tokens.shape[:-1], self.heads, -1)

    def offsets_and_weights(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Where and how strongly queries (Q, dim) look.

        Returns:
            offsets (Q, heads, levels, points, 2) as (x, y) in cells of each level, and weights (Q, heads, levels,
            points), which sum to one over the levels and points of a head.
        """
        offsets = self.sampling_offsets(queries).view(-1, self.heads, self.levels, self.points, 2)
        logits = self.attention_weights(queries).view(-1, self.heads, self.levels * self.points)
        return offsets, F.softmax(logits, dim=-1).view(-1, self.heads, self.levels, self.points)


def row_by_row(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """A function of rows, whose result has the first tensor's shape, where each row depends on its own row alone.

    On a CPU without gradients it is applied to a slab of rows after the other: what lies in between stays in the cache.
    """
    if torch.is_grad_enabled() or tensors[0].device.type != "cpu":
        return function(*tensors)
    out = torch.empty_like(tensors[0])

    def write(first: int) -> None:
        rows = slice(first, first + ROWS)
        out[rows] = function(*(tensor[rows] for tensor in tensors))

    for_each_slab(write, range(0, len(out), ROWS), out.device)
    return out


def cell_sizes(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """(levels, 1, 2) width and height of a cell of each level (rows, columns), as a share of the level's extent."""
    return torch.tensor([(1 / columns, 1 / rows) for rows, columns in shapes], device=device).unsqueeze(1)


@torch.no_grad()
def sampling_reach(offsets: Tensor, cells: Tensor) -> Tensor:
    """How far from a token's anchors its samples still read features.

    Args:
        offsets: (Q, heads, levels, points, 2) in cells.
        cells: (levels, 1, 2), see ``cell_sizes``.

    Returns:
        (Q, 2) along x and y, as a share of the image.
    """
    farthest = torch.linalg.vector_norm(offsets, ord=math.inf, dim=(1, 3))
    shares: Tensor = ((farthest.to(cells.dtype) + 0.5) * cells[:, 0]).amax(dim=1)
    return shares


def within_reach(references: Tensor, reach: Tensor) -> Tensor:
    """Bundles that may read anything: (n, bundles), of anchors (n, bundles, anchors, 2) whose reach is (n, 2)."""
    reach = reach[:, None, None]
    return ~((references < -reach) | (references > 1 + reach)).any(dim=-1).all(dim=-1)
