# SPDX-License-Identifier: Apache-2.0
"""Terms that ask for smoothness: of the signed distance field on its nodes, and of what rays see beside each other."""

from __future__ import annotations

import torch
from torch import Tensor

from selfocc_training.photometric import RayGrid


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


def edge_loss(values: Tensor, colours: Tensor, grid: RayGrid) -> Tensor:
    """First differences of mean-normalised ``values``, where the picture has no edge (Godard et al. 2019, eq. 3).

    Plain surfaces fit many distances equally well; this hands them that of their textured surroundings.

    Args:
        values: (V, R) depth (SelfOcc) or inverse depth (Monodepth2) on the ray grid.
        colours: (V, R, 3) 0..1 of the picture at the same rays.
    """
    views = values.shape[0]
    plane = values.reshape(views, grid.height, grid.width)
    plane = plane / (plane.mean(dim=(1, 2), keepdim=True) + 1e-6)
    picture = colours.reshape(views, grid.height, grid.width, 3)
    total = values.new_zeros(())
    for axis in (1, 2):
        contrast = picture.diff(dim=axis).abs().mean(dim=-1)
        total = total + (plane.diff(dim=axis).abs() * torch.exp(-contrast)).mean()
    return total
