# SPDX-License-Identifier: Apache-2.0
"""Where the ground lies under each column of voxels, found in the voxels themselves, and which layers lie above it.

Roads rise and dip by metres within the reach of a grid, so "0.3 to 2 m above the road" is no fixed set of layers.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.voxels import VoxelGrid

FloatArray = NDArray[np.float64]
Heights = NDArray[np.float32]

TILE_M = 2.0
"""Edge of the tiles in which the ground is searched: wider than a bush, narrower than a road."""
STEEPEST = 0.15
"""Change of slope from tile to tile, in metres per metre, that ground may show beside what cells round off."""
NEAR_M = 10.0
"""Within this distance of the vehicle `LEAST_GROUND` of the tiles must show ground, or the volume has none to show."""
LEAST_GROUND = 0.2
FULL_SHARE = 0.25
"""Share of a tile's columns that must have voxels: single ones are things, not ground."""
_TOLERANCE = 1e-4  # metres: a layer that only touches the band is outside it


class BandError(SelfOccError, ValueError):
    """A band of heights that lies outside the voxels, or voxels that an OccupancyGrid cannot hold."""


def band_limits(
    grid: VoxelGrid, band: tuple[float, float], ground: Heights | float = 0.0
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """First and last layer of each column that overlap the heights `band`; first > last where none does.

    Args:
        band: lowest and highest height above the ground, metres.
        ground: height of the ground in the frame of the grid, metres: one number, or one per column (X, Y).

    Raises:
        BandError: no column has such a layer.
    """
    layer, bottom = float(grid.cell[2]), grid.lower[2]
    height = np.asarray(ground, np.float64) - bottom
    first = np.floor((height + band[0] + _TOLERANCE) / layer)
    last = np.ceil((height + band[1] - _TOLERANCE) / layer) - 1
    first, last = np.maximum(first, 0), np.minimum(last, grid.shape[2] - 1)
    if (first > last).all():
        low, high = bottom - float(np.max(ground)), grid.upper[2] - float(np.min(ground))
        raise BandError(
            f"height_band [{band[0]:g}, {band[1]:g}] m lies outside the voxels, "
            f"which reach from {low:.2f} to {high:.2f} m above the ground"
        )
    return first.astype(np.int16), last.astype(np.int16)


def in_band(grid: VoxelGrid, band: tuple[float, float], ground: Heights | float = 0.0) -> NDArray[np.bool_]:
    """Which voxels (Z, X, Y) overlap the heights `band`; (Z, 1, 1) where the ground is one number.

    Raises:
        BandError: none does.
    """
    first, last = band_limits(grid, band, ground)
    layers = np.arange(grid.shape[2], dtype=np.int16).reshape(-1, 1, 1)
    return np.asarray((layers >= first) & (layers <= last))


def layer_at(grid: VoxelGrid, height: float, ground: Heights | float = 0.0) -> NDArray[np.int64]:
    """Layer (X, Y) that lies `height` metres above the ground; -1 or the number of layers where the grid ends before.

    Args:
        ground: height of the ground in the frame of the grid, metres: one number, or one per column (X, Y).
    """
    at = np.floor((np.asarray(ground, np.float64) + height - grid.lower[2] + _TOLERANCE) / grid.cell[2])
    return np.broadcast_to(np.clip(at, -1, grid.shape[2]).astype(np.int64), grid.shape[:2])


def local_ground(
    occupied_ZXY: NDArray[np.bool_],
    grid: VoxelGrid,
    ground_z: float = 0.0,
    start: tuple[float, float] = (0.0, 0.0),
) -> Heights:
    """Height (X, Y) of the ground under each column in the frame of the grid, metres.

    The ground is what can be reached from under the vehicle, tile by tile, without a step that no road has: walls,
    vehicles and crowns of trees are steps. Where nothing of it is seen it goes on level. A column whose lowest voxels
    end at the ground found around it has it in the middle of the last of them, so that ground itself is never above
    the ground. Volumes that show no ground near the vehicle have it at `ground_z` everywhere.

    Args:
        occupied_ZXY: which voxels are occupied, layers first.
        ground_z: height of the ground under the vehicle, metres.
        start: where the vehicle stands, metres in the frame of the grid.
    """
    layer, middle = float(grid.cell[2]), grid.lower[2] + 0.5 * float(grid.cell[2])
    top = _top_of_lowest_run(occupied_ZXY)
    # Numbers of 4 bytes: a third less time, for arrays of this size that the allocator need not get from the system.
    surface = np.where(top >= 0, top * np.float32(layer) + np.float32(middle), np.float32(np.nan))
    across = max(1, round(TILE_M / float(grid.cell[0]))), max(1, round(TILE_M / float(grid.cell[1])))
    tiles = _tiles(surface, across)
    edge = np.array([across[0] * grid.cell[0], across[1] * grid.cell[1]])
    place = np.clip((np.array(start) - grid.lower[:2]) // edge, 0, np.array(tiles.shape[:2]) - 1).astype(int)
    step = 0.5 * layer + STEEPEST * float(edge.max())
    height, seen = _grow(_low(tiles), (int(place[0]), int(place[1])), ground_z, step)
    if _share_near(seen, place, edge) < LEAST_GROUND:
        return np.full(grid.shape[:2], ground_z, np.float32)
    # Low quartiles lie below the middle of a slope: take the mean of all columns that belong to the ground.
    member = np.abs(tiles - height[..., None].astype(np.float32)) <= 1.25 * layer
    count = member.sum(axis=2)
    mean = np.where(member, tiles, 0.0).sum(axis=2) / np.maximum(count, 1)
    height = np.where(seen & (count > 0), mean, height)
    smooth = _spread(_smoothed(height, np.where(seen, 1.0, 0.05)), across, grid.shape[:2])
    rounded = np.rint((smooth - np.float32(middle)) / np.float32(layer)) * np.float32(layer) + np.float32(middle)
    own = np.abs(surface - smooth) <= 0.75 * layer
    return np.where(own, surface, rounded)


def _top_of_lowest_run(occupied_ZXY: NDArray[np.bool_]) -> NDArray[np.int16]:
    """(X, Y) the last layer of each column's lowest run of occupied voxels, -1 without any."""
    top = np.full(occupied_ZXY.shape[1:], -1, np.int16)
    ended = np.zeros(top.shape, bool)
    for k, here in enumerate(occupied_ZXY):
        ended |= (top >= 0) & ~here
        top[here & ~ended] = k
    return top


def _tiles(columns: Heights, across: tuple[int, int]) -> Heights:
    """(I, J, columns of a tile) from (X, Y); what lies beyond the last column is NaN."""
    rows, cols = (-(-n // a) for n, a in zip(columns.shape, across, strict=True))
    padded = np.full((rows * across[0], cols * across[1]), np.nan, np.float32)
    padded[: columns.shape[0], : columns.shape[1]] = columns
    return padded.reshape(rows, across[0], cols, across[1]).swapaxes(1, 2).reshape(rows, cols, -1)


def _low(tiles: Heights) -> Heights:
    """(I, J) the lower quartile of each tile, NaN where too few of its columns have voxels."""
    count = np.isfinite(tiles).sum(axis=2)
    ordered = np.sort(tiles, axis=2)  # NaN last
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0)[..., None] // 4, axis=2)[..., 0]
    return np.where(count >= FULL_SHARE * tiles.shape[2], low, np.nan)


def _grow(low: Heights, start: tuple[int, int], height: float, step: float) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Ground from the tile `start` outwards: heights (I, J), and where they were seen rather than carried on."""
    padded = np.zeros((2, low.shape[0] + 2, low.shape[1] + 2))
    ground, known = padded[:, 1:-1, 1:-1]  # heights, 0 where not known yet, and 1 where they are
    seen = np.zeros(low.shape, bool)
    ground[start], known[start] = height, 1.0
    seen[start] = np.abs(low[start] - height) <= step
    for _ in range(max(low.shape)):
        rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
        total, count = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]  # over each tile and its eight neighbours
        front = (known == 0.0) & (count > 0.0)
        if not front.any():
            break
        expected, found = total[front] / count[front], low[front]
        fits = np.abs(found - expected) <= step
        ground[front], known[front] = np.where(fits, found, expected), 1.0
        seen[front] = fits
    return ground, seen


def _share_near(seen: NDArray[np.bool_], place: NDArray[np.int64], edge: FloatArray) -> float:
    x, y = ((np.arange(n) - p) * e for n, p, e in zip(seen.shape, place, edge, strict=True))
    near = x[:, None] ** 2 + y[None, :] ** 2 <= NEAR_M**2
    return float(seen[near].mean())


def _smoothed(values: FloatArray, weights: FloatArray) -> FloatArray:
    """The plane through what lies around each tile, weighted with a Gaussian of 1.5 tiles, at the tile itself.

    A plane and not the mean, which would level slopes at the edges of the grid. Its height is the first unknown of
    three equations for each tile, by Cramer's rule: a general solver takes ten times as long.
    """
    rows, cols = _kernels(values.shape[0])[:, None], _kernels(values.shape[1]).transpose(0, 2, 1)
    moments, right = rows @ weights @ cols, rows[:2] @ (weights * values) @ cols[:2]
    a, b, c, e = moments[0, 0], moments[1, 0], moments[0, 1], moments[1, 1]
    # Where all lies in one row, nothing tells the slope across it: level.
    d, f = moments[2, 0] + 0.1 * a, moments[0, 2] + 0.1 * a
    first, second, third = d * f - e * e, b * f - c * e, b * e - c * d
    height = right[0, 0] * first - right[1, 0] * second + right[0, 1] * third
    return np.asarray(height / (a * first - b * second + c * third))


@lru_cache(maxsize=8)
def _kernels(n: int) -> FloatArray:
    """(3, n, n) a Gaussian of 1.5 about each of n tiles in a row, times the distance to the powers 0, 1 and 2."""
    apart = (np.arange(n)[None, :] - np.arange(n)[:, None]).astype(np.float64)
    return np.asarray(np.exp(-0.5 * (apart / 1.5) ** 2) * np.stack([apart**power for power in range(3)]))


def _spread(tiles: FloatArray, across: tuple[int, int], shape: tuple[int, int]) -> Heights:
    """(X, Y) heights at columns, linear between the middles of tiles and level beyond the outermost.

    By picking and weighing, and not as a product of matrices: numpy's BLAS would wake a thread on every core for it,
    and leave them spinning for longer than all of this takes.
    """
    (x, x_next, x_share), (y, y_next, y_share) = (
        _between(n, width, count) for n, width, count in zip(shape, across, tiles.shape, strict=True)
    )
    rows = tiles[x] + (tiles[x_next] - tiles[x]) * x_share[:, None]
    return np.asarray(rows[:, y] + (rows[:, y_next] - rows[:, y]) * y_share, np.float32)


@lru_cache(maxsize=8)
def _between(n: int, width: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """For each of n columns the two of `count` tiles, `width` columns wide, that it lies between, and how far (n,)."""
    at = np.clip((np.arange(n) + 0.5) / width - 0.5, 0, count - 1)
    first = at.astype(np.int64)
    return first, np.minimum(first + 1, count - 1), at - first
