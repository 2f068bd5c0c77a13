# SPDX-License-Identifier: Apache-2.0
"""Which voxels the cameras see: true lines of sight up to and including the first occupied voxel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.town.objects import Label

_COMPACT = 12


def _walk(
    occupied: torch.Tensor, seen: torch.Tensor, position: torch.Tensor, direction: torch.Tensor, reach: torch.Tensor
) -> None:
    """Mark in ``seen`` the voxels along rays, in units of cells (Amanatides and Woo, 1987).

    position, direction (3, n): where rays enter and how they go on; ``reach`` (n,) how far, in the units of
    ``direction``. ``occupied`` and ``seen`` are flat with a border of one voxel on every side.
    """
    shape = occupied.shape
    strides = (shape[1] * shape[2], shape[2], 1)
    flat_occupied, flat_seen = occupied.view(-1), seen.view(-1)
    cell = torch.floor(position)
    size = direction.new_tensor(shape)[:, None] - 2.0
    cell = torch.minimum(cell.clamp_min(0.0), size - 1.0)
    ahead = (direction > 0).to(direction.dtype)
    step = 1.0 / direction.abs().clamp_min(1e-9)
    crossing = ((cell + ahead - position) * torch.sign(direction)).clamp_min(0.0) * step
    jump = torch.sign(direction).long() * torch.tensor(strides)[:, None]
    place = ((cell.long() + 1) * torch.tensor(strides)[:, None]).sum(0)
    border = torch.ones(shape, dtype=torch.bool)
    border[1:-1, 1:-1, 1:-1] = False
    # Walking stops in occupied voxels and on the border; both stop a ray for good.
    stop = flat_occupied | border.view(-1)
    rounds = 0
    while place.numel():
        flat_seen[place] = True
        nearest, axis = crossing.min(dim=0)
        going = ~stop[place] & (nearest < reach)
        rounds += 1
        if rounds % _COMPACT == 0:
            kept = going.nonzero(as_tuple=True)[0]
            place, crossing, step, jump, reach = (
                place[kept],
                crossing[:, kept],
                step[:, kept],
                jump[:, kept],
                reach[kept],
            )
            axis, going = axis[kept], going[kept]
        # Rays that have arrived stay where they are until they are dropped.
        here = axis[None]
        place = place + jump.gather(0, here)[0] * going
        crossing.scatter_add_(0, here, step.gather(0, here) * going)


def camera_mask(
    grid: VoxelGrid,
    classes: npt.NDArray[np.uint8],
    rig: CameraRig,
    depths: Sequence[npt.NDArray[np.float32]],
    stride: int = 2,
) -> npt.NDArray[np.bool_]:
    """Voxels (X, Y, Z) on a true line of sight from a camera, up to and including the first occupied one.

    Args:
        grid: in base_link.
        classes: (X, Y, Z) true classes, 17 where free.
        rig: cameras in base_link, each at its own stamp.
        depths: true depth (H, W) along the optical axis of each camera in metres, inf for sky.
        stride: every ``stride``-th pixel of every ``stride``-th row is followed.
    """
    shape = tuple(n + 2 for n in grid.shape)
    occupied = torch.zeros(shape, dtype=torch.bool)
    occupied[1:-1, 1:-1, 1:-1] = torch.from_numpy(classes != int(Label.FREE))
    seen = torch.zeros(shape, dtype=torch.bool)
    lower, cell = np.asarray(grid.lower), grid.cell
    size = np.asarray(grid.shape, dtype=np.float64)
    for camera, base_from_camera, depth in zip(rig.cameras, rig.base_from_camera, depths, strict=True):
        rays = camera.pixel_rays()[::stride, ::stride].reshape(-1, 3)
        reach = np.asarray(depth, dtype=np.float64)[::stride, ::stride].reshape(-1) / rays[:, 2]
        direction = rays @ base_from_camera[:3, :3].T / cell
        origin = (base_from_camera[:3, 3] - lower) / cell
        # Enter the grid, should the camera be outside of it.
        with np.errstate(divide="ignore", invalid="ignore"):
            near = np.fmin(-origin / direction, (size - origin) / direction).max(axis=1)
            far = np.fmax(-origin / direction, (size - origin) / direction).min(axis=1)
        near = np.maximum(near, 0.0)
        reach = np.minimum(reach, far)
        kept = near < reach
        start = origin + direction[kept] * near[kept][:, None]
        _walk(
            occupied,
            seen,
            torch.from_numpy(start.T.copy()),
            torch.from_numpy(direction[kept].T.copy()),
            torch.from_numpy((reach - near)[kept]),
        )
    seen = seen[1:-1, 1:-1, 1:-1]
    return np.asarray(seen.numpy(), dtype=np.bool_).copy()
