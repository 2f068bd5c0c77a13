# SPDX-License-Identifier: Apache-2.0
"""Which voxels some camera sees: in its image, and not behind what it looks at.

What lies behind a wall was never looked at, so calling it free would be a guess. Distances rendered along a few lines
of sight per camera decide, at half the resolution of the grid. Which line passes which node depends on the rig alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.model.rig_tensors import RigTensors

COLUMNS = 32
"""Lines of sight side by side in an image of the network's input width; as dense from top to bottom."""
SAMPLES = 64
"""Sections per line of sight; `MARGIN_M` is wider than they are."""
MARGIN_M = 1.0
"""How far behind the rendered surface a voxel still counts as seen: its own extent and the coarse lines."""


@dataclass(frozen=True)
class SightLines:
    """Lines of sight of a rig, and the nodes of a coarse grid beside them.

    Attributes:
        origins, directions: (L, 3) metres and unit vectors in the ground frame.
        lines: (M,) line of each pair of a camera and a node that lies in its image.
        nodes: (M,) node of each pair.
        distances: (M,) metres between camera and node.
        coarse: nodes along x, y, z; both ends of the grid are nodes.
        shape: cells of the occupancy grid along x, y, z.
    """

    origins: Tensor
    directions: Tensor
    lines: Tensor
    nodes: Tensor
    distances: Tensor
    coarse: tuple[int, int, int]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, rig: RigTensors, grid: VoxelGrid, input_size: tuple[int, int]) -> SightLines:
        """Lines of ``rig`` through ``grid`` (both in the ground frame) for images of ``input_size`` (width, height)."""
        device = rig.sizes.device
        step = input_size[0] / COLUMNS
        rows = max(1, round(input_size[1] / step))
        v = (torch.arange(rows, device=device) + 0.5) * step - 0.5
        u = (torch.arange(COLUMNS, device=device) + 0.5) * step - 0.5
        vv, uu = torch.meshgrid(v, u, indexing="ij")
        pixels = torch.stack([uu, vv], dim=-1).reshape(1, -1, 2).expand(len(rig), -1, 2)
        origins, directions, _ = rig.rays(pixels)
        x, y, z = (cells // 2 + 1 for cells in grid.shape)
        axes = [torch.linspace(a, b, n) for a, b, n in zip(grid.lower, grid.upper, (x, y, z), strict=True)]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3).to(device)
        at, _, inside = rig.project(points)
        camera, node = inside.nonzero(as_tuple=True)
        row = ((at[camera, node, 1] + 0.5) / step).long().clamp(0, rows - 1)
        column = ((at[camera, node, 0] + 0.5) / step).long().clamp(0, COLUMNS - 1)
        distances = (points[node] - rig.base_from_camera[camera, :3, 3]).norm(dim=-1)
        lines = (camera * rows + row) * COLUMNS + column
        return cls(origins.reshape(-1, 3), directions.reshape(-1, 3), lines, node, distances, (x, y, z), grid.shape)

    def seen_voxels(self, reach: Tensor) -> NDArray[np.bool_]:
        """(X, Y, Z) voxels on a line of sight, which end ``reach`` (L,) metres from their camera."""
        near = self.distances <= reach[self.lines] + MARGIN_M
        nodes = torch.zeros(int(np.prod(self.coarse)), device=reach.device)
        nodes[self.nodes[near]] = 1.0
        cells = F.max_pool3d(nodes.reshape(1, 1, *self.coarse), 2, stride=1)
        seen: Tensor = F.interpolate(cells, size=self.shape, mode="nearest")[0, 0] > 0
        return np.asarray(seen.cpu().numpy())
