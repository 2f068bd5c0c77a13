# SPDX-License-Identifier: Apache-2.0
"""Exact occupancy: every voxel that anything solid overlaps, with its class.

Boxes are tested by separating axes (all 15: a voxel's three, the box's three and their nine cross
products; Gottschalk et al., OBBTree, 1996), spheres by the distance to the nearest point of the voxel,
the ground by the lowest point of the voxel against the height field.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.town.layout import Ground
from selfocc_ros.town.objects import Label, Solids
from selfocc_ros.town.route import KERB_HEIGHT

Array = npt.NDArray[np.float64]

# Where several things share a voxel the later of these wins: what moves matters most.
_PRIORITY = {
    Label.MANMADE: 0,
    Label.VEGETATION: 1,
    Label.PEDESTRIAN: 5,
    Label.BICYCLE: 4,
    Label.MOTORCYCLE: 4,
    Label.CAR: 3,
    Label.TRUCK: 3,
    Label.BUS: 3,
}


def _range(grid: VoxelGrid, middle: Array, reach: Array) -> tuple[slice, slice, slice] | None:
    """Indices of the voxels that the interval middle +- reach touches; None outside the grid."""
    lower, cell = np.asarray(grid.lower), grid.cell
    first = np.maximum(np.floor((middle - reach - lower) / cell).astype(int), 0)
    last = np.minimum(np.floor((middle + reach - lower) / cell).astype(int) + 1, grid.shape)
    if (first >= last).any():
        return None
    return slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2])


def box_overlaps(
    grid: VoxelGrid, middle: Array, axes: Array, half: Array
) -> tuple[tuple[slice, slice, slice], npt.NDArray[np.bool_]] | None:
    """Which voxels an oriented box overlaps.

    Args:
        middle: (3,) centre of the box in the frame of the grid.
        axes: (3, 3), columns are the box's axes in the frame of the grid.
        half: (3,) half extents along those axes.

    Returns:
        Slices of the voxels tested and a mask of that shape, or None where the box misses the grid.
    """
    absolute = np.abs(axes)
    where = _range(grid, middle, absolute @ half)
    if where is None:
        return None
    lower, cell = np.asarray(grid.lower), grid.cell
    voxel = cell * 0.5
    x, y, z = (lower[i] + (np.arange(where[i].start, where[i].stop) + 0.5) * cell[i] - middle[i] for i in range(3))

    def separated(axis: Array) -> npt.NDArray[np.bool_]:
        reach = np.abs(axis) @ voxel + np.abs(axes.T @ axis) @ half
        distance = (axis[0] * x)[:, None, None] + (axis[1] * y)[None, :, None] + (axis[2] * z)[None, None, :]
        return np.asarray(np.abs(distance) > reach + 1e-12, dtype=np.bool_)

    outside = separated(axes[:, 0])
    for axis in (axes[:, 1], axes[:, 2]):
        outside |= separated(axis)
    if outside.all():
        return where, ~outside
    for i in range(3):
        unit = np.zeros(3)
        unit[i] = 1.0
        for j in range(3):
            outside |= separated(np.cross(unit, axes[:, j]))
    return where, ~outside


def ball_overlaps(
    grid: VoxelGrid, middle: Array, radius: float
) -> tuple[tuple[slice, slice, slice], npt.NDArray[np.bool_]] | None:
    """Which voxels a ball overlaps; see ``box_overlaps``."""
    where = _range(grid, middle, np.full(3, radius))
    if where is None:
        return None
    lower, cell = np.asarray(grid.lower), grid.cell
    gaps = []
    for i in range(3):
        centres = lower[i] + (np.arange(where[i].start, where[i].stop) + 0.5) * cell[i] - middle[i]
        gaps.append(np.maximum(np.abs(centres) - cell[i] * 0.5, 0.0) ** 2)
    total = gaps[0][:, None, None] + gaps[1][None, :, None] + gaps[2][None, None, :]
    return where, total <= radius * radius


def _points(grid: VoxelGrid, odom_from_base: Array, dz: float = 0.0) -> Array:
    """Voxel centres (X, Y, Z, 3) in odom, moved by ``dz`` along the grid's own z."""
    lower, cell = np.asarray(grid.lower), grid.cell
    sides = [lower[i] + (np.arange(grid.shape[i]) + 0.5) * cell[i] for i in range(3)]
    rotation = odom_from_base[:3, :3]
    return np.asarray(
        (rotation[:, 0] * sides[0][:, None])[:, None, None]
        + (rotation[:, 1] * sides[1][:, None])[None, :, None]
        + (rotation[:, 2] * (sides[2][:, None] + dz))[None, None, :]
        + odom_from_base[:3, 3],
        dtype=np.float64,
    )


def ground_classes(grid: VoxelGrid, odom_from_base: Array, ground: Ground) -> npt.NDArray[np.uint8]:
    """Classes (X, Y, Z) of voxels that reach below the ground's surface; 17 elsewhere.

    The surface is linear within a voxel to better than 0.1 mm, so the least of z - h over the voxel is its
    value at the centre less the voxel's support along the gradient. Where a voxel reaches over the kerb,
    its corners decide.
    """
    section = ground.route.section
    points = _points(grid, odom_from_base)
    xy = points[..., :2]
    clearance = points[..., 2] - ground.terrain.height(xy)
    result = np.full(grid.shape, int(Label.FREE), dtype=np.uint8)
    near = np.abs(clearance) < 0.5 * float(np.linalg.norm(grid.cell)) + 2.0 * KERB_HEIGHT
    solid = clearance < 0
    slope = ground.terrain.gradient(xy[near])
    gradient = np.concatenate([-slope, np.ones((len(slope), 1))], axis=-1)
    support = np.abs(gradient @ odom_from_base[:3, :3]) @ (grid.cell * 0.5)
    lowest = clearance[near] - support
    _, d = ground.road.lookup(xy[near])
    # Voxels that only a raised pavement can reach: the corner nearest to it counts.
    unsure = (lowest >= 0) & (lowest < KERB_HEIGHT)
    offset = np.abs(d[unsure])
    half = grid.cell * 0.5
    for i in (-1.0, 1.0):
        for j in (-1.0, 1.0):
            corner = odom_from_base[:3, :3] @ (np.array([i, j, -1.0]) * half)
            _, there = ground.road.lookup(xy[near][unsure] + corner[:2])
            offset = np.maximum(offset, np.abs(there))
    reached = lowest < 0
    reached[np.flatnonzero(unsure)[offset >= section.kerb]] = True
    solid[near] = reached
    _, d = ground.road.lookup(xy[solid])
    kinds = np.where(
        np.abs(d) < section.kerb,
        int(Label.DRIVEABLE_SURFACE),
        np.where(np.abs(d) <= section.wall, int(Label.SIDEWALK), int(Label.TERRAIN)),
    )
    result[solid] = kinds.astype(np.uint8)
    return result


def occupancy(grid: VoxelGrid, odom_from_base: Array, ground: Ground, solids: Solids) -> npt.NDArray[np.uint8]:
    """Occ3D classes (X, Y, Z) uint8 of a grid fixed to ``odom_from_base``; 17 where nothing solid is."""
    result = ground_classes(grid, odom_from_base, ground)
    rotation = odom_from_base[:3, :3]
    middle = (solids.centre - odom_from_base[:3, 3]) @ rotation
    lower, upper = np.asarray(grid.lower), np.asarray(grid.upper)
    gap = np.linalg.norm(np.maximum(np.maximum(lower - middle, middle - upper), 0.0), axis=1)
    rank = np.array([_PRIORITY.get(Label(int(label)), 2) for label in solids.label])
    rows = np.flatnonzero(gap <= solids.radius)
    for row in rows[np.argsort(rank[rows], kind="stable")]:
        if solids.sphere[row]:
            found = ball_overlaps(grid, middle[row], float(solids.size[row, 0]))
        else:
            cos, sin = np.cos(solids.yaw[row]), np.sin(solids.yaw[row])
            axes = rotation.T @ np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
            found = box_overlaps(grid, middle[row], axes, solids.size[row])
        if found is not None:
            where, mask = found
            result[where][mask] = solids.label[row]
    return result


def above_ground(grid: VoxelGrid, odom_from_base: Array, ground: Ground) -> npt.NDArray[np.bool_]:
    """Voxels (X, Y, Z) whose lower face is more than 0.3 m above the true ground under its centre."""
    points = _points(grid, odom_from_base, -0.5 * float(grid.cell[2]))
    clearance = points[..., 2] - ground.terrain.height(points[..., :2])
    result = clearance > 0.3 + KERB_HEIGHT
    unsure = (clearance > 0.3) & ~result
    _, d = ground.road.lookup(points[unsure][:, :2])
    result[unsure] = np.abs(d) < ground.route.section.kerb
    return np.asarray(result, dtype=np.bool_)
