# SPDX-License-Identifier: Apache-2.0
"""Shadows on the ground: cast by the sun, and the dimness close around things.

What stands still is drawn once into a raster around the road; what drives is added for every view.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from selfocc_ros.town.moods import Mood
from selfocc_ros.town.objects import Label, Solids
from selfocc_ros.town.route import RoadMap

CELL = 0.25
_VEHICLES = (Label.CAR, Label.TRUCK, Label.BUS)
_MOST_VEHICLES = 10
_VEHICLE_REACH = 45.0


def _footprints(solids: Solids, grow: float) -> np.ndarray:
    """Corners (M, 4, 2) of the solids' footprints, grown by some metres."""
    x, y = solids.size[:, 0] + grow, solids.size[:, 1] + grow
    corners = np.stack([np.stack([x, y], -1), np.stack([-x, y], -1), np.stack([-x, -y], -1), np.stack([x, -y], -1)], 1)
    cos, sin = np.cos(solids.yaw)[:, None], np.sin(solids.yaw)[:, None]
    turned = np.stack([cos * corners[..., 0] - sin * corners[..., 1], sin * corners[..., 0] + cos * corners[..., 1]], -1)
    return np.asarray(turned + solids.centre[:, None, :2])


def _draw(solids: Solids, road: RoadMap, mood: Mood) -> np.ndarray:
    """Raster (2, rows, columns) uint8 of what stands still: sun taken away, sky taken away (255 = all)."""
    rows = int((road.values.shape[1] - 1) * road.cell / CELL) + 1
    columns = int((road.values.shape[2] - 1) * road.cell / CELL) + 1
    sun = np.zeros((rows, columns), dtype=np.uint8)
    close = np.zeros((rows, columns), dtype=np.uint8)
    lower = np.asarray(road.lower)
    slide = -np.asarray(mood.sun[:2]) / max(mood.sun[2], 0.15)
    bottom = np.maximum(solids.centre[:, 2] - solids.size[:, 2] - solids.foot, 0.0)
    top = np.maximum(solids.centre[:, 2] + solids.size[:, 2] - solids.foot, 0.0)
    prints, grown = _footprints(solids, 0.0), _footprints(solids, 0.15)
    for i in range(len(solids)):
        if solids.sphere[i]:
            centre = (solids.centre[i, :2] + slide * (0.5 * (bottom[i] + top[i])) - lower) / CELL
            cv2.circle(sun, tuple(int(round(v)) for v in centre), max(int(solids.size[i, 0] / CELL), 1), 255, -1)
            continue
        outline = np.concatenate([prints[i] + slide * bottom[i], prints[i] + slide * top[i]])
        hull = cv2.convexHull(((outline - lower) / CELL * 16.0).astype(np.int32))
        cv2.fillConvexPoly(sun, hull, 255, lineType=cv2.LINE_AA, shift=4)
        if bottom[i] < 0.3:
            cv2.fillConvexPoly(close, ((grown[i] - lower) / CELL * 16.0).astype(np.int32), 255, shift=4)
    return np.stack([cv2.GaussianBlur(sun, (0, 0), 0.9), cv2.GaussianBlur(close, (0, 0), 1.6)])


@dataclass(frozen=True)
class Shadows:
    """The raster on a device, as shares in 0..1."""

    raster: Tensor  # (1, 2, rows, columns)
    lower: tuple[float, float]

    @staticmethod
    def of(solids: Solids, road: RoadMap, mood: Mood, device: torch.device) -> Shadows:
        """Draw the shadows of everything that stands still."""
        raster = torch.from_numpy(_draw(solids, road, mood)).to(device, torch.float32) / 255.0
        return Shadows(raster[None], road.lower)

    def at(self, x: Tensor, y: Tensor, vehicles: Tensor) -> tuple[Tensor, Tensor]:
        """Shares (n,) of sun and of sky light taken away at x, y (n,).

        vehicles (k, 6): x, y, cos, sin, half length, half width of what drives nearby.
        """
        rows, columns = self.raster.shape[-2:]
        gx = (x - self.lower[0]) * (2.0 / (CELL * (columns - 1))) - 1.0
        gy = (y - self.lower[1]) * (2.0 / (CELL * (rows - 1))) - 1.0
        both = torch.nn.functional.grid_sample(self.raster, torch.stack([gx, gy], -1)[None, None], mode="bilinear",
                                               padding_mode="zeros", align_corners=True)[0, :, 0]
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
    table = np.stack([solids.centre[rows, 0], solids.centre[rows, 1], np.cos(solids.yaw[rows]),
                      np.sin(solids.yaw[rows]), solids.size[rows, 0], solids.size[rows, 1]], axis=-1)
    return torch.from_numpy(table).to(device, torch.float32)
