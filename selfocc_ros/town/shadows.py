# SPDX-License-Identifier: Apache-2.0
"""Shadows on the ground: cast by the sun, and the dimness close around things.

What stands still is drawn once into a raster around the road; what drives is added for every view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfocc_ros.town.moods import Mood
from selfocc_ros.town.objects import Label, Material, Solids
from selfocc_ros.town.route import RoadMap

CELL = 0.25
_VEHICLES = (Label.CAR, Label.TRUCK, Label.BUS)
_MOST_VEHICLES = 10
_VEHICLE_REACH = 45.0


def _swept(
    shape: tuple[int, int], solids: Solids, row: int, lower: np.ndarray, grow: float, begin: np.ndarray, end: np.ndarray
) -> tuple[slice, slice, np.ndarray] | None:
    """Cells that a solid's footprint covers while it slides from ``begin`` to ``end`` (2,) beside its place.

    The rows and columns of the raster that were looked at, and a mask of that shape.
    """
    cos, sin = float(np.cos(solids.yaw[row])), float(np.sin(solids.yaw[row]))
    half = solids.size[row, :2] + grow
    reach = np.array([abs(cos) * half[0] + abs(sin) * half[1], abs(sin) * half[0] + abs(cos) * half[1]])
    centre = solids.centre[row, :2]
    first = np.maximum(np.ceil((centre + np.minimum(begin, end) - reach - lower) / CELL), 0).astype(int)
    last = np.minimum(np.floor((centre + np.maximum(begin, end) + reach - lower) / CELL).astype(int) + 1, shape[::-1])
    if (first >= last).any():
        return None
    x = (lower[0] + CELL * np.arange(first[0], last[0]) - centre[0] - begin[0])[None, :]
    y = (lower[1] + CELL * np.arange(first[1], last[1]) - centre[1] - begin[1])[:, None]
    way = end - begin
    # In the footprint's axes: the share of the way during which the cell is covered (slabs).
    low, high = 0.0, 1.0
    for place, speed, size in (
        (cos * x + sin * y, cos * way[0] + sin * way[1], half[0]),
        (cos * y - sin * x, cos * way[1] - sin * way[0], half[1]),
    ):
        speed = speed if abs(speed) > 1e-6 else 1e-6
        middle, span = place / speed, size / abs(speed)
        low, high = np.maximum(low, middle - span), np.minimum(high, middle + span)
    return slice(first[1], last[1]), slice(first[0], last[0]), np.asarray(low <= high)


def _blur(raster: np.ndarray, passes: int) -> Tensor:
    """Blur a raster (rows, columns) with [1 2 1] / 4 along both axes, several times (variance: passes / 2 cells)."""
    for _ in range(passes):
        for view in (raster, raster.T):
            mean = view[1:] + view[:-1]
            view[1:-1] = 0.25 * (mean[1:] + mean[:-1])
    return torch.from_numpy(raster)


def _draw(solids: Solids, road: RoadMap, mood: Mood) -> Tensor:
    """Raster (2, rows, columns) of what stands still: shares of sun and of sky light taken away."""
    shape = (
        int((road.values.shape[1] - 1) * road.cell / CELL) + 1,
        int((road.values.shape[2] - 1) * road.cell / CELL) + 1,
    )
    sun = np.zeros(shape, dtype=np.float32)
    close = np.zeros(shape, dtype=np.float32)
    lower = np.asarray(road.lower)
    slide = -np.asarray(mood.sun[:2]) / max(mood.sun[2], 0.15)
    bottom = np.maximum(solids.centre[:, 2] - solids.size[:, 2] - solids.foot, 0.0)
    top = np.maximum(solids.centre[:, 2] + solids.size[:, 2] - solids.foot, 0.0)
    # Balconies and cornices lie in the shadow of their house.
    drawn = (solids.material != int(Material.WALL)) | (bottom < 2.0)
    for row in np.flatnonzero(drawn).tolist():
        found = _swept(shape, solids, row, lower, 0.0, slide * bottom[row], slide * top[row])
        if found is not None:
            sun[found[:2]][found[2]] = 1.0
        if bottom[row] < 0.3:
            found = _swept(shape, solids, row, lower, 0.15, np.zeros(2), np.zeros(2))
            if found is not None:
                close[found[:2]][found[2]] = 1.0
    return torch.stack([_blur(sun, 2), _blur(close, 5)])


@dataclass(frozen=True)
class Shadows:
    """The raster on a device, as shares in 0..1."""

    raster: Tensor  # (1, 2, rows, columns)
    lower: tuple[float, float]

    @staticmethod
    def of(solids: Solids, road: RoadMap, mood: Mood, device: torch.device) -> Shadows:
        """Draw the shadows of everything that stands still."""
        raster = _draw(solids, road, mood).to(device)
        return Shadows(raster[None], road.lower)

    def at(self, x: Tensor, y: Tensor, vehicles: Tensor) -> tuple[Tensor, Tensor]:
        """Shares (n,) of sun and of sky light taken away at x, y (n,).

        vehicles (k, 6): x, y, cos, sin, half length, half width of what drives nearby.
        """
        rows, columns = self.raster.shape[-2:]
        gx = (x - self.lower[0]) * (2.0 / (CELL * (columns - 1))) - 1.0
        gy = (y - self.lower[1]) * (2.0 / (CELL * (rows - 1))) - 1.0
        both = torch.nn.functional.grid_sample(
            self.raster,
            torch.stack([gx, gy], -1)[None, None],
            mode="bilinear",
            padding_mode="zeros",
            align_corners=True,
        )[0, :, 0]
        sun, close = both[0], both[1]
        for row in vehicles:
            dx, dy = x - row[0], y - row[1]
            along = (row[2] * dx + row[3] * dy).abs() - row[4]
            across = (row[2] * dy - row[3] * dx).abs() - row[5]
            away = torch.hypot(along.clamp_min(0.0), across.clamp_min(0.0))
            close = torch.maximum(close, 1.0 - away * (1.0 / 0.5))
        return sun, close


def driving(solids: Solids, origin: np.ndarray, device: torch.device) -> Tensor:
    """The moving vehicles nearest to a camera as ``Shadows.at`` wants them."""
    away = np.linalg.norm(solids.centre[:, :2] - origin[:2], axis=1)
    low = solids.centre[:, 2] - solids.size[:, 2] < solids.foot
    rows = np.flatnonzero(solids.moving & np.isin(solids.label, _VEHICLES) & low & (away < _VEHICLE_REACH))
    rows = rows[np.argsort(away[rows])][:_MOST_VEHICLES]
    table = np.stack(
        [
            solids.centre[rows, 0],
            solids.centre[rows, 1],
            np.cos(solids.yaw[rows]),
            np.sin(solids.yaw[rows]),
            solids.size[rows, 0],
            solids.size[rows, 1],
        ],
        axis=-1,
    )
    return torch.from_numpy(table).to(device, torch.float32)
