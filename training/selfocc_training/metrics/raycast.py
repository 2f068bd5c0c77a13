# SPDX-License-Identifier: Apache-2.0
"""Rays through a grid of voxels (Amanatides and Woo 1987), all at once."""

from __future__ import annotations

import torch
from torch import Tensor

_BEYOND = 255
_STEPS_BETWEEN_CULLS = 12  # rays that have ended stay in the batch so long: culling costs as much as a few steps


def first_hits(labels: Tensor, origins: Tensor, directions: Tensor, free: int) -> tuple[Tensor, Tensor]:
    """The first voxel on each ray that is not free, that of its origin included.

    Args:
        labels: (X,Y,Z) uint8, below 255.
        origins: (R,3) in cells from the grid's lower corner, inside the grid.
        directions: (R,3), of any length.
        free: label of voxels that rays pass through. Where a ray meets two or three faces at once it crosses them one
            after the other, z before y before x.

    Returns:
        Labels (R,) uint8 and float64 distances (R,), in lengths of the direction, to where rays *leave* the voxel they
        hit. Those that hit none have the label ``free`` and the distance to where they leave the grid.

    Raises:
        ValueError: a ray begins outside the grid, or has no direction.
    """
    shape = torch.tensor(labels.shape, device=labels.device)
    origins, directions = (a.to(labels.device, torch.float64) for a in (origins, directions))
    if not bool(((origins >= 0) & (origins < shape)).all()):
        raise ValueError("rays must begin inside the grid")
    if not bool((directions.isfinite().all(dim=1) & (directions != 0).any(dim=1)).all()):
        raise ValueError("rays need a finite direction other than zero")

    # A border of its own label around the grid tells a ray that it has left: one look-up per step, no comparisons.
    padded = labels.new_full(tuple(n + 2 for n in labels.shape), _BEYOND)
    padded[1:-1, 1:-1, 1:-1] = labels
    strides = torch.tensor(padded.stride(), device=labels.device)
    table = padded.reshape(-1)

    cells = origins.floor()
    moving = directions != 0
    between = torch.where(moving, 1 / directions.abs(), torch.inf)
    to_face = torch.where(moving, (cells + (directions > 0) - origins) / directions, torch.inf)
    tx, ty, tz = to_face.unbind(dim=1)
    dx, dy, dz = between.unbind(dim=1)
    jx, jy, jz = (torch.where(directions < 0, -1, 1) * strides).unbind(dim=1)
    index = ((cells.long() + 1) * strides).sum(dim=1)
    entered = torch.zeros_like(tx)
    ray = torch.arange(len(origins), device=labels.device)

    hit = labels.new_full((len(origins),), free)
    distance = torch.zeros_like(tx)
    while len(ray):
        for _ in range(_STEPS_BETWEEN_CULLS):
            going = table[index] == free
            leaves = torch.minimum(torch.minimum(tx, ty), tz)
            through_z = (tz <= leaves) & going
            through_y = (ty <= leaves) & going & ~through_z
            through_x = going & ~through_z & ~through_y
            entered = torch.where(going, leaves, entered)
            index = index + through_x * jx + through_y * jy + through_z * jz
            tx = torch.where(through_x, tx + dx, tx)
            ty = torch.where(through_y, ty + dy, ty)
            tz = torch.where(through_z, tz + dz, tz)
        label = table[index]
        ended = label != free
        beyond = label == _BEYOND
        leaves = torch.minimum(torch.minimum(tx, ty), tz)
        hit[ray[ended]] = torch.where(beyond, free, label)[ended].to(labels.dtype)
        distance[ray[ended]] = torch.where(beyond, entered, leaves)[ended]
        on = ~ended
        ray, index, entered = ray[on], index[on], entered[on]
        tx, ty, tz, dx, dy, dz = (a[on] for a in (tx, ty, tz, dx, dy, dz))
        jx, jy, jz = jx[on], jy[on], jz[on]
    return hit, distance
