# SPDX-License-Identifier: Apache-2.0
"""Terms that ask a signed distance field to be one: gradients of length one (eikonal), few bends (Hessian).

Each comes in SelfOcc's form, which takes central differences, continues the field by its border value, and so sees
half of the true gradient there, and in this project's, which costs a fraction and looks at direct neighbours alone.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from selfocc_ros.model.planes.field_grid import central_differences

Stencil = Literal["diagonal", "wide", "compact"]


def field_hessian(nodes: Tensor, spacing: Tensor, compact: bool = False) -> Tensor:
    """Second derivatives: central differences of central differences, with strides of two nodes.

    Args:
        nodes: (X, Y, Z) metres.
        spacing: (3,) between nodes, metres.
        compact: take the diagonal from the direct neighbours, (f+ - 2 f + f-) / spacing^2: the wide stencil does not
            see a field that alternates from node to node.

    Returns:
        (3, 3, X, Y, Z) in 1/m; [i, j] is the derivative along j of that along i.
    """
    hessian = central_differences(central_differences(nodes, spacing), spacing).transpose(0, 1)
    if not compact:
        return hessian
    rows = []
    for axis in range(3):
        first, last = nodes.narrow(axis, 0, 1), nodes.narrow(axis, -1, 1)
        steps = torch.cat([first, nodes, last], dim=axis).diff(dim=axis)
        direct = steps.diff(dim=axis) / spacing[axis] ** 2
        rows.append(torch.stack([direct if other == axis else hessian[axis, other] for other in range(3)]))
    return torch.stack(rows)


def hessian_loss(nodes: Tensor, spacing: Tensor, stencil: Stencil = "wide") -> Tensor:
    """Mean absolute second derivative, in 1/m.

    Args:
        nodes: (X, Y, Z) metres.
        spacing: (3,) between nodes, metres.
        stencil: ``"wide"`` and ``"compact"`` are SelfOcc's (Huang et al. 2024), all nine entries at all nodes, see
            ``field_hessian``; ``"diagonal"`` is ours, second differences along the three axes at inner nodes.
    """
    if stencil != "diagonal":
        return field_hessian(nodes, spacing, stencil == "compact").abs().mean()
    total = nodes.new_zeros(())
    for axis in range(3):
        total = total + (nodes.diff(n=2, dim=axis) / spacing[axis] ** 2).abs().mean()
    return total / 3.0


def eikonal_loss(gradients: Tensor) -> Tensor:
    """Mean of (|gradient| - 1)^2 (Gropp et al. 2020).

    Args:
        gradients: (..., 3); SelfOcc joins those at the samples of rays and those at all nodes.
    """
    norms: Tensor = torch.linalg.vector_norm(gradients, dim=-1)
    return (norms - 1.0).square().mean()


def cell_eikonal_loss(nodes: Tensor, spacing: Tensor) -> Tensor:
    """Mean of (|gradient| - 1)^2 over all cells, forward differences at each cell's lower corner.

    Args:
        nodes: (X, Y, Z) metres.
        spacing: (3,) between nodes, metres.
    """
    base = nodes[:-1, :-1, :-1]
    squared = torch.zeros_like(base)
    for axis, ahead in enumerate((nodes[1:, :-1, :-1], nodes[:-1, 1:, :-1], nodes[:-1, :-1, 1:])):
        squared = squared + ((ahead - base) / spacing[axis]) ** 2
    # A flat field has a gradient of length zero, where the root has no slope to go by.
    return ((squared + 1e-6).sqrt() - 1.0).square().mean()
