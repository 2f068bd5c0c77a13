# SPDX-License-Identifier: Apache-2.0
"""A map around the vehicle that remembers: log-odds of occupancy in voxels that stand still in the world.

Occupancy grids with log-odds are those of Moravec and Elfes (1985) in the form of OctoMap (Hornung et al. 2013):
what is seen occupied gains, what is seen free loses, both within bounds. The map moves along with the vehicle by whole
cells, so what it holds is never resampled; only the newest volume is, by looking up the voxel in which each centre of
the map lies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import FREE, OCCUPIED, UNKNOWN, GridError, OccupancyVolume, VoxelGrid

MOST, LEAST = 2.5, -1.2
"""Bounds of the log-odds: a sure thing is cleared within three looks, and two looks make a thing of free space."""
KNOWN = 0.1
"""Log-odds nearer to zero than this say nothing."""
HEADROOM_M = 2.0
"""How far the map reaches above and below the volume, for a vehicle that pitches and rolls."""

T = TypeVar("T", bound=np.generic)
_FORGETTING = math.log(MOST / KNOWN)


@dataclass(frozen=True)
class Weights:
    """How fast the map learns and forgets.

    Attributes:
        hit: log-odds that a voxel gains when it is seen occupied.
        miss: log-odds that a voxel loses when it is seen free.
        decay_s: seconds after which what is seen no more is forgotten, however sure it was.
    """

    hit: float = 0.85
    miss: float = 0.4
    decay_s: float = 10.0


class LocalMap:
    """Fuses volumes into voxels of the same size around the vehicle, in a frame that does not move with it.

    Args:
        size_m: edge of the map, metres.
    """

    def __init__(self, size_m: float = 60.0) -> None:
        self._size_m = size_m
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._stamp_ns: int | None = None
        self._grid: VoxelGrid | None = None  # of the newest volume: another one starts a map of its own
        self._place = np.zeros(3, np.int64)  # index of the map's first voxel in a grid over the whole world
        self._phase = np.zeros(3)  # metres: where the corner of that grid's voxel (0, 0, 0) lies
        self._odds_ZXY = np.zeros((0, 0, 0), np.float32)
        self._labels_ZXY: NDArray[np.uint8] | None = None
        self._names: tuple[str, ...] = ()

    def add(
        self, volume: OccupancyVolume, odom_from_base: NDArray[np.float64], stamp_ns: int, weights: Weights
    ) -> None:
        """Fuse one volume.

        A stamp before the last one starts a new map, as do voxels of another size or other classes. Voxels that the
        volume does not know stay as they are but for what they forget.

        Args:
            odom_from_base: (4,4) pose of the volume's frame in that of the map.
        """
        if self._stamp_ns is None or stamp_ns < self._stamp_ns or self._differs(volume):
            self._begin(volume)
        else:
            seconds = (stamp_ns - self._stamp_ns) * 1e-9
            self._odds_ZXY *= math.exp(-_FORGETTING * seconds / weights.decay_s)
        self._stamp_ns = stamp_ns
        self._follow(volume.grid, odom_from_base)
        states = _padded(volume.state, UNKNOWN).ravel()
        labels = None if volume.classes is None else _padded(volume.classes, 0).ravel()
        for layer, flat in self._lookup(volume.grid, odom_from_base):
            state, odds = states[flat], self._odds_ZXY[layer]
            occupied, free = state == OCCUPIED, state == FREE
            # What was sure and is free now has moved away: half of it goes at once, so traffic leaves no trail.
            np.multiply(odds, 0.5, out=odds, where=free & (odds > 0.0))
            odds += occupied * np.float32(weights.hit) - free * np.float32(weights.miss)
            np.clip(odds, LEAST, MOST, out=odds)
            if self._labels_ZXY is not None and labels is not None:
                np.copyto(self._labels_ZXY[layer], labels[flat], where=occupied)

    def volume(self) -> OccupancyVolume:
        """The map as a volume in the frame that does not move, whose voxels are as high as those of the volumes added.

        Raises:
            GridError: nothing has been added yet.
        """
        if self._grid is None:
            raise GridError("the local map is empty: no volume has been added to it")
        odds = np.ascontiguousarray(self._odds_ZXY.transpose(1, 2, 0))
        state = np.full(odds.shape, UNKNOWN, np.uint8)
        state[odds < -KNOWN] = FREE
        occupied = odds > KNOWN
        state[occupied] = OCCUPIED
        cell = self._grid.cell
        lower = self._phase + self._place * cell
        upper = lower + cell * odds.shape
        grid = VoxelGrid((lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]), odds.shape)
        classes = None
        if self._labels_ZXY is not None:
            classes = np.where(occupied, self._labels_ZXY.transpose(1, 2, 0), np.uint8(0))
        return OccupancyVolume(grid, state, None, classes, self._names)

    def _differs(self, volume: OccupancyVolume) -> bool:
        return volume.grid != self._grid or volume.class_names != self._names

    def _begin(self, volume: OccupancyVolume) -> None:
        self.clear()
        grid = self._grid = volume.grid
        # Voxels of a vehicle that stands level at the origin are those of the map.
        self._phase = np.mod(np.array(grid.lower), grid.cell)
        x, y = (max(1, round(self._size_m / float(edge))) for edge in grid.cell[:2])
        z = grid.shape[2] + 2 * math.ceil(HEADROOM_M / float(grid.cell[2]))
        self._odds_ZXY = np.zeros((z, x, y), np.float32)
        self._names = volume.class_names
        if volume.classes is not None:
            self._labels_ZXY = np.zeros((z, x, y), np.uint8)

    def _follow(self, grid: VoxelGrid, odom_from_base: NDArray[np.float64]) -> None:
        """Move the map by whole cells so that the vehicle is in its middle, and the volume in that of its height."""
        z, x, y = self._odds_ZXY.shape
        middle = odom_from_base[:3, 3] + [0.0, 0.0, 0.5 * (grid.lower[2] + grid.upper[2])]
        place = np.rint((middle - self._phase) / grid.cell - np.array([x, y, z]) / 2).astype(np.int64)
        shift = place - self._place
        if shift.any():
            by = (int(shift[2]), int(shift[0]), int(shift[1]))
            self._odds_ZXY = _shifted(self._odds_ZXY, by)
            if self._labels_ZXY is not None:
                self._labels_ZXY = _shifted(self._labels_ZXY, by)
            self._place = place

    def _lookup(self, grid: VoxelGrid, odom_from_base: NDArray[np.float64]) -> Iterator[tuple[int, NDArray[np.int32]]]:
        """Each layer of the map that meets the volume, and for its columns (X, Y) the voxel in which the centre lies.

        Voxels are told as places in a volume padded by one of them on all sides. A layer at a time stays in the cache.
        """
        cell = grid.cell
        rotation = odom_from_base[:3, :3]
        z, x, y = self._odds_ZXY.shape
        first = self._phase + (self._place + 0.5) * cell - odom_from_base[:3, 3]
        along = [start + np.arange(n) * edge for start, n, edge in zip(first, (x, y, z), cell, strict=True)]
        columns: list[NDArray[np.float32]] = []
        rising: list[NDArray[np.float32]] = []
        for axis in range(3):
            by_x, by_y, by_z = (line * rotation[i, axis] / cell[axis] for i, line in enumerate(along))
            padded_lower = grid.lower[axis] / cell[axis] - 1.0
            columns.append((by_x[:, None] + by_y[None, :] - padded_lower).astype(np.float32))
            rising.append(by_z.astype(np.float32))
        for layer in range(z):
            height = columns[2] + rising[2][layer]
            if height.max() < 1.0 or height.min() >= grid.shape[2] + 1:
                continue
            flat = np.zeros((x, y), np.int32)
            for axis in range(3):
                place = height if axis == 2 else columns[axis] + rising[axis][layer]
                flat *= grid.shape[axis] + 2
                flat += np.clip(place, 0.0, grid.shape[axis] + 1).astype(np.int32)
            yield layer, flat


def _padded(values: NDArray[np.uint8], beyond: int) -> NDArray[np.uint8]:
    out = np.full([n + 2 for n in values.shape], beyond, np.uint8)
    out[1:-1, 1:-1, 1:-1] = values
    return out


def _shifted(values: NDArray[T], by: tuple[int, ...]) -> NDArray[T]:
    """What lies at index i + by goes to i; what comes in is zero."""
    out = np.zeros_like(values)
    if all(abs(d) < n for d, n in zip(by, values.shape, strict=True)):
        source = tuple(slice(max(d, 0), n + min(d, 0)) for d, n in zip(by, values.shape, strict=True))
        target = tuple(slice(max(-d, 0), n + min(-d, 0)) for d, n in zip(by, values.shape, strict=True))
        out[target] = values[source]
    return out
