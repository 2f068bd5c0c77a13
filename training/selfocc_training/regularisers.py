# SPDX-License-Identifier: Apache-2.0
"""Terms on the signed distance field itself, evaluated on its nodes."""

from __future__ import annotations

import torch
from torch import Tensor


def eikonal_loss(nodes: Tensor, spacing: Tensor) -> Tensor:
    """Mean of (|gradient| - 1)^2 (Gropp et al. 2020), forward differences at the nodes' lower corner.

    Args:
        nodes: (X, Y, Z) metres.
        spacing: (3,) metres.
    """
    base = nodes[:-1, :-1, :-1]
    squared = torch.zeros_like(base)
    for axis, ahead in enumerate((nodes[1:, :-1, :-1], nodes[:-1, 1:, :-1], nodes[:-1, :-1, 1:])):
        squared = squared + ((ahead - base) / spacing[axis]) ** 2
    return ((squared + 1e-6).sqrt() - 1.0).square().mean()


def hessian_loss(nodes: Tensor, spacing: Tensor) -> Tensor:
    """Mean absolute second difference along the three axes (SelfOcc's compact stencil, diagonal entries), in 1/m."""
    total = nodes.new_zeros(())
    for axis in range(3):
        first = nodes.diff(dim=axis)
        total = total + (first.diff(dim=axis) / spacing[axis] ** 2).abs().mean()
    return total / 3.0
