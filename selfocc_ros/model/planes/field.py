# SPDX-License-Identifier: Apache-2.0
"""Planes of features to a signed distance field on a dense grid: the fusion and the network behind it.

Parameters bear the names of the published SelfOcc (``density_net.{1,3}``, ``deviation_network.variance``, ``aabb``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from selfocc_ros.model.planes.field_grid import FieldGrid
from selfocc_ros.ops.slabs import for_each_slab


@dataclass(frozen=True)
class Planes:
    """Features at the nodes of axis-aligned planes over a box, indexed in the order x, y, z, channels last.

    Attributes:
        xy: (X, Y, C).
        yz: (Y, Z, C); None where the planes are a bird's eye view alone.
        xz: (X, Z, C); None likewise.
    """

    xy: Tensor
    yz: Tensor | None = None
    xz: Tensor | None = None

    @classmethod
    def from_tokens(
        cls, shape: tuple[int, int, int], hw: Tensor, zh: Tensor | None = None, wz: Tensor | None = None
    ) -> Planes:
        """The planes of an encoder's tokens; the one place where its axes h = y, w = x, d = z are turned to ours.

        Args:
            shape: nodes along x, y and z.
            hw: (Y * X, C), x running fastest.
            zh: (Z * Y, C), y running fastest; None for a bird's eye view.
            wz: (X * Z, C), z running fastest; None for a bird's eye view.

        Raises:
            ValueError: a number of tokens that the shape does not explain.
        """
        x, y, z = shape
        for name, tokens, count in (("hw", hw, y * x), ("zh", zh, z * y), ("wz", wz, x * z)):
            if tokens is not None and tokens.shape[0] != count:
                raise ValueError(f"the {name} plane of {x} x {y} x {z} nodes has {count} tokens, not {len(tokens)}")
        return cls(
            hw.reshape(y, x, -1).transpose(0, 1),
            None if zh is None else zh.reshape(z, y, -1).transpose(0, 1),
            None if wz is None else wz.reshape(x, z, -1),
        )


SLAB_NODES = 2**16
CACHED_SLAB_NODES = 2**13
"""So many nodes' hidden channels stay in a core's cache."""


class LearnedSharpness(nn.Module):
    """The s of NeuS as one learnt number v: s = exp(10 v), in 1/m (NeuS, sec. 3.1)."""

    def __init__(self, variance: float) -> None:
        super().__init__()
        self.variance = nn.Parameter(torch.tensor([variance]))

    def forward(self) -> Tensor:
        """(1,)."""
        return torch.exp(self.variance * 10.0)


class _PlaneField(nn.Module):
    """What the fields of three planes and of one have in common."""

    aabb: Tensor

    def __init__(
        self,
        channels: int,
        hidden: int,
        outputs: int,
        lower: Sequence[float],
        upper: Sequence[float],
        first_activation: bool,
        variance: float,
    ) -> None:
        super().__init__()
        self.density_net = nn.Sequential(
            nn.Softplus() if first_activation else nn.Identity(),
            nn.Linear(channels, hidden),
            nn.Softplus(),
            nn.Linear(hidden, outputs),
        )
        self.deviation_network = LearnedSharpness(variance)
        self.register_buffer("aabb", torch.tensor([list(lower), list(upper)], dtype=torch.float32))

    @property
    def sharpness(self) -> Tensor:
        """(1,) the s of NeuS, in 1/m."""
        found: Tensor = self.deviation_network()
        return found

    @property
    def _first(self) -> nn.Linear:
        return cast(nn.Linear, self.density_net[1])

    @property
    def _last(self) -> nn.Linear:
        return cast(nn.Linear, self.density_net[3])


class TriplaneField(_PlaneField):
    """Sum of three planes at every node, then Softplus, Linear, Softplus, Linear (SelfOcc's TPV field).

    The grid is made in slabs along x, so that the hidden channels of all nodes never exist at once. Where gradients are
    asked for, a slab's hidden channels are computed again on the way back; else slabs are small enough for a cache.

    Args:
        channels: C of the planes.
        features: outputs beside the distance: three colour coefficients, then class logits; may be 0.
        lower, upper: (3,) metres, corners of the box that the planes span from border to border.
        hidden: channels between the two Linears; as many as the planes have, when None.
        first_activation: True is the published field. Without it the first Linear commutes with the sum and is applied
            to the planes instead of the nodes, which costs a fraction.
        slab_nodes: about how many nodes make a slab; by default what suits the device.
        variance: where the sharpness starts, see ``LearnedSharpness``.
    """

    def __init__(
        self,
        channels: int,
        features: int,
        lower: Sequence[float],
        upper: Sequence[float],
        hidden: int | None = None,
        first_activation: bool = True,
        slab_nodes: int | None = None,
        variance: float = 0.1,
    ) -> None:
        super().__init__(channels, hidden or channels, 1 + features, lower, upper, first_activation, variance)
        self.first_activation = first_activation
        self.slab_nodes = slab_nodes

    def forward(self, planes: Planes, with_features: bool = True) -> FieldGrid:
        """The field of planes; ``with_features`` False leaves out all but the distance.

        The field is differentiated by differences between nodes, which half precision would drown: the network is
        kept out of automatic mixed precision.

        Raises:
            ValueError: one of the three planes is missing.
        """
        if planes.yz is None or planes.xz is None:
            raise ValueError("a field of three planes is given a bird's eye view alone")
        with torch.autocast(planes.xy.device.type, enabled=False):
            xy, yz, xz = _full(planes.xy), _full(planes.yz), _full(planes.xz)
            if not self.first_activation:
                weight = self._first.weight
                xy, yz, xz = self._first(xy), F.linear(yz, weight), F.linear(xz, weight)
            values = self._values(xy, yz, xz, None if with_features else 1)
            return FieldGrid.from_values(values, self.aabb[0], self.aabb[1])

    def _values(self, xy: Tensor, yz: Tensor, xz: Tensor, rows: int | None) -> Tensor:
        """Values (1 + features, X, Y, Z), or the first ``rows`` alone."""
        learns = torch.is_grad_enabled()
        slab_nodes = self.slab_nodes or (SLAB_NODES if learns or xy.is_cuda else CACHED_SLAB_NODES)
        thickness = max(1, slab_nodes // (yz.shape[0] * yz.shape[1]))
        parts = zip(torch.split(xy, thickness), torch.split(xz, thickness), strict=True)
        if learns:
            slabs = [
                checkpoint(self._slab, own, yz, other, rows, use_reentrant=False, preserve_rng_state=False)
                for own, other in parts
            ]
            return torch.cat(slabs, dim=1)
        values = xy.new_empty(rows or len(self._last.bias), len(xy), *yz.shape[:2])

        def write(first: int) -> None:
            slab = slice(first, first + thickness)
            values[:, slab] = self._slab(xy[slab], yz, xz[slab], rows)

        for_each_slab(write, range(0, len(xy), thickness), xy.device)
        return values

    def _slab(self, xy: Tensor, yz: Tensor, xz: Tensor, rows: int | None) -> Tensor:
        """Values (1 + features, x, Y, Z) of planes (x, Y, C), (Y, Z, C) and (x, Z, C), or the first ``rows`` alone."""
        nodes = xy[:, :, None] + yz[None] + xz[:, None]
        if self.first_activation:
            nodes = self._first(self.density_net[0](nodes))
        hidden = self.density_net[2](nodes).flatten(0, 2)
        values = torch.addmm(self._last.bias[:rows, None], self._last.weight[:rows], hidden.T)
        return values.view(-1, *nodes.shape[:3])


class PillarField(_PlaneField):
    """A bird's eye plane to pillars: Softplus, Linear, Softplus, Linear to all heights at once (SelfOcc's BEV field).

    Args:
        heights: Z, nodes along z.
        channels, features, lower, upper, hidden, first_activation, variance: as in ``TriplaneField``.
    """

    def __init__(
        self,
        channels: int,
        heights: int,
        features: int,
        lower: Sequence[float],
        upper: Sequence[float],
        hidden: int | None = None,
        first_activation: bool = True,
        variance: float = 0.1,
    ) -> None:
        outputs = heights * (1 + features)
        super().__init__(channels, hidden or channels, outputs, lower, upper, first_activation, variance)
        self.heights = heights

    def forward(self, planes: Planes, with_features: bool = True) -> FieldGrid:
        """The field of a plane ``planes.xy``; the other two are not looked at. Otherwise as in ``TriplaneField``."""
        with torch.autocast(planes.xy.device.type, enabled=False):
            weight: Tensor = self._last.weight
            bias: Tensor = self._last.bias
            if not with_features:
                # Its rows run over the values at one height, then over heights; the distance comes first.
                step = len(bias) // self.heights
                weight, bias = weight[::step], bias[::step]
            plane = _full(planes.xy)
            # By value and then by height, as they are wanted.
            weight = weight.reshape(self.heights, -1, weight.shape[1]).transpose(0, 1).flatten(0, 1)
            bias = bias.reshape(self.heights, -1).T.flatten()
            values = self._values(plane.flatten(0, 1), weight, bias)
            return FieldGrid.from_values(values.view(-1, *plane.shape[:2], self.heights), self.aabb[0], self.aabb[1])

    def _values(self, pillars: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Values (1 + features, P, heights) of pillars (P, C)."""
        if torch.is_grad_enabled() or pillars.is_cuda:
            return self._slab(pillars, weight, bias).contiguous()
        values = pillars.new_empty(len(bias) // self.heights, len(pillars), self.heights)
        thickness = max(1, CACHED_SLAB_NODES // self.heights)

        def write(first: int) -> None:
            slab = slice(first, first + thickness)
            values[:, slab] = self._slab(pillars[slab], weight, bias)

        for_each_slab(write, range(0, len(pillars), thickness), pillars.device)
        return values

    def _slab(self, pillars: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        values = F.linear(self.density_net[:3](pillars), weight, bias)
        return values.view(len(pillars), -1, self.heights).transpose(0, 1)


def _full(plane: Tensor) -> Tensor:
    """A plane in at least single precision."""
    return plane.float() if plane.dtype in (torch.float16, torch.bfloat16) else plane
