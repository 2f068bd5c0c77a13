# SPDX-License-Identifier: Apache-2.0
"""First and second derivatives of a signed distance field on its nodes, and the terms that ask them to be regular."""

from __future__ import annotations

import torch
from torch import Tensor


def field_gradient(nodes: Tensor, spacing: Tensor) -> Tensor:
    """Central differences, the field continued by its border value: half the true gradient at the border.

    Args:
        nodes: (..., X, Y, Z) metres.
        spacing: (3,) between nodes, metres.

    Returns:
        (3, ..., X, Y, Z) derivatives along x, y, z.
    """
    differences = []
    for axis in (-3, -2, -1):
        behind, ahead = _neighbours(nodes, axis)
        differences.append((ahead - behind) / (2 * spacing[axis]))
    return torch.stack(differences)


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
    hessian = field_gradient(field_gradient(nodes, spacing), spacing).transpose(0, 1)
    if not compact:
        return hessian
    rows = []
    for axis in range(3):
        behind, ahead = _neighbours(nodes, axis)
        direct = (ahead - 2 * nodes + behind) / spacing[axis] ** 2
        rows.append(torch.stack([direct if other == axis else hessian[axis, other] for other in range(3)]))
    return torch.stack(rows)


def hessian_loss(nodes: Tensor, spacing: Tensor, compact: bool = False) -> Tensor:
    """Mean absolute second derivative over all nine entries and all nodes (SelfOcc, Huang et al. 2024), in 1/m."""
    return field_hessian(nodes, spacing, compact).abs().mean()


def eikonal_loss(gradients: Tensor) -> Tensor:
    """Mean of (|gradient| - 1)^2 (Gropp et al. 2020).

    Args:
        gradients: (..., 3); SelfOcc joins those at the samples of rays and those at all nodes.
    """
    norms: Tensor = torch.linalg.vector_norm(gradients, dim=-1)
    return (norms - 1.0).square().mean()


def _neighbours(nodes: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The node behind and the node ahead of each along the axis, itself at the border."""
    last = nodes.shape[axis] - 1
    behind = torch.cat([nodes.narrow(axis, 0, 1), nodes.narrow(axis, 0, last)], dim=axis)
    ahead = torch.cat([nodes.narrow(axis, 1, last), nodes.narrow(axis, last, 1)], dim=axis)
    return behind, ahead
