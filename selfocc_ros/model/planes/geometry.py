# SPDX-License-Identifier: Apache-2.0
"""The grid of nodes that planes lie on: which axes a plane has, where its nodes are, where its anchors are.

Points are (x, y, z) in metres. Tensors over the grid are ``[h, w, d]`` with **h = y, w = x, d = z**, and a plane is
named for its rows and columns: ``hw`` has rows along y and columns along x, ``zh`` rows along z and columns along y,
``wz`` rows along x and columns along z. A plane's tokens are flattened row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfocc_ros.geometry.voxels import GridError

X, Y, Z = 0, 1, 2


@dataclass(frozen=True)
class Plane:
    """A plane through the volume: the metric axes (0 x, 1 y, 2 z) of its rows, its columns, and the one it lacks."""

    name: str
    rows: int
    columns: int
    lacks: int


HW = Plane("hw", rows=Y, columns=X, lacks=Z)
ZH = Plane("zh", rows=Z, columns=Y, lacks=X)
WZ = Plane("wz", rows=X, columns=Z, lacks=Y)

TPV = (HW, ZH, WZ)
"""Three orthogonal planes (TPVFormer, Huang et al. 2023)."""
BEV = (HW,)
"""The bird's eye plane alone (BEVFormer, Li et al. 2022)."""


@dataclass(frozen=True)
class PlaneGrid:
    """Nodes over a box, the first and the last of each axis on its borders.

    Attributes:
        lower, upper: corners of the box (x, y, z), metres.
        nodes: number of nodes along x, y and z.
    """

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    nodes: tuple[int, int, int]

    def __post_init__(self) -> None:
        if any(low >= high for low, high in zip(self.lower, self.upper, strict=True)):
            raise GridError(f"plane grid upper {self.upper} must lie above lower {self.lower} in x, y and z")
        if any(n < 2 for n in self.nodes):
            raise GridError(f"plane grid needs at least 2 nodes along x, y and z, found {self.nodes}")

    def shape(self, plane: Plane) -> tuple[int, int]:
        """(rows, columns) of a plane."""
        return self.nodes[plane.rows], self.nodes[plane.columns]

    def tokens(self, plane: Plane) -> int:
        """Number of tokens of a plane."""
        rows, columns = self.shape(plane)
        return rows * columns

    def metres(self, axis: int, index: Tensor) -> Tensor:
        """Coordinates of (fractional) node indices along ``axis``.

        In float32 and in the order of operations of the published networks, since the finest frequency of the
        positional encoding multiplies a rounding error by 3000: a box around the origin is counted from its middle.
        """
        low, high, last = self.lower[axis], self.upper[axis], self.nodes[axis] - 1
        if low == -high:
            return (index - last / 2) / (last / 2) * high
        return index / last * (high - low) + low

    def coordinates(self, axis: int) -> Tensor:
        """(nodes,) coordinates of the nodes along ``axis``, metres."""
        return self.metres(axis, torch.arange(self.nodes[axis], dtype=torch.float32))

    def unit(self, axis: int, metres: Tensor) -> Tensor:
        """Coordinates as a share of the box, 0 at its lower and 1 at its upper border."""
        return (metres - self.lower[axis]) / (self.upper[axis] - self.lower[axis])

    def anchors(self, plane: Plane, count: int) -> Tensor:
        """Anchors of a plane's tokens: ``count`` points each, uniform along the lacking axis, both borders included.

        Returns:
            (tokens, count, 3) metres.
        """
        spread = self.metres(plane.lacks, torch.linspace(0, self.nodes[plane.lacks] - 1, count))
        along = {plane.rows: self.coordinates(plane.rows), plane.columns: self.coordinates(plane.columns)}
        rows, columns, lacking = torch.meshgrid(along[plane.rows], along[plane.columns], spread, indexing="ij")
        axes = {plane.rows: rows, plane.columns: columns, plane.lacks: lacking}
        return torch.stack([axes[X], axes[Y], axes[Z]], dim=-1).reshape(-1, count, 3)

    def indices(self, plane: Plane) -> dict[int, Tensor]:
        """Node index (tokens,) of each token along the two axes that the plane has, by axis."""
        rows, columns = self.shape(plane)
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        return {plane.rows: row.reshape(-1).float(), plane.columns: column.reshape(-1).float()}
