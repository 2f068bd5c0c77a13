# SPDX-License-Identifier: Apache-2.0
"""Which voxels some camera sees: in its image, and not behind what it looks at.

What lies behind a wall was never looked at, so calling it free would be a guess. Distances rendered on a coarse grid
of pixels decide at the resolution of the lifted volume; both come from work that the network does anyway.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfocc_ros.model.backbone import STRIDE
from selfocc_ros.model.renderer import render
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.model.scene import Scene
from selfocc_ros.model.selfocc import RigCache, SelfOcc

COARSER = 2
"""Lines of sight are rendered at every second feature, in both directions."""
SAMPLES = 64
"""Sections per line of sight; `MARGIN_M` is wider than they are."""
MARGIN_M = 1.0
"""How far behind the rendered surface a voxel still counts as seen: its own extent and the coarse pixels."""


def seen_voxels(model: SelfOcc, scene: Scene, cache: RigCache, rig: RigTensors) -> NDArray[np.bool_]:
    """(X, Y, Z) voxels of the occupancy grid on a line of sight of some camera of ``rig``."""
    size, lookup = model.config.input, cache.lookup
    height, width = size.height // STRIDE, size.width // STRIDE
    rows, columns = height // COARSER, width // COARSER
    step = STRIDE * COARSER
    v, u = torch.meshgrid(
        torch.arange(rows, device=rig.sizes.device) * step + (step - 1) / 2,
        torch.arange(columns, device=rig.sizes.device) * step + (step - 1) / 2,
        indexing="ij",
    )
    pixels = torch.stack([u, v], dim=-1).reshape(1, -1, 2).expand(len(rig), -1, 2)
    origins, directions, _ = rig.rays(pixels)
    rendered = render(scene, origins.reshape(-1, 3), directions.reshape(-1, 3), model.config.renderer, samples=SAMPLES)
    reach = rendered.expected_distance() + MARGIN_M
    corner = lookup.pixels[:, 0]
    camera, feature = corner // (height * width), corner % (height * width)
    row = (feature // width // COARSER).clamp(max=rows - 1)
    column = (feature % width // COARSER).clamp(max=columns - 1)
    near = lookup.distances <= reach[(camera * rows + row) * columns + column]
    nodes = torch.zeros(len(model.points), device=rig.sizes.device)
    nodes[lookup.voxels[near]] = 1.0
    cells = F.max_pool3d(nodes.reshape(1, 1, *model.coarse), 2, stride=1)
    seen: Tensor = F.interpolate(cells, size=model.config.grid.shape, mode="nearest")[0, 0] > 0
    return np.asarray(seen.cpu().numpy())
