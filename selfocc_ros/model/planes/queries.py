# SPDX-License-Identifier: Apache-2.0
"""The lifter: one learned query per plane token, the same for every image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selfocc_ros.model.planes.geometry import Plane, PlaneGrid


class PlaneQueries(nn.Module):
    """Learned queries, standard normal at the start.

    Parameters are named ``tpv_hw``, ``tpv_zh``, ``tpv_wz``, or ``bev`` where there is the bird's eye plane alone, and
    have shape (1, tokens, dim), as in the published checkpoints.
    """

    def __init__(self, grid: PlaneGrid, planes: Sequence[Plane], dim: int) -> None:
        super().__init__()
        self.names = [f"tpv_{plane.name}" for plane in planes] if len(planes) > 1 else ["bev"]
        for name, plane in zip(self.names, planes, strict=True):
            self.register_parameter(name, nn.Parameter(torch.randn(1, grid.tokens(plane), dim)))

    def forward(self) -> Tensor:
        """Queries of all planes one after the other, (tokens, dim)."""
        return torch.cat([self.get_parameter(name)[0] for name in self.names])
