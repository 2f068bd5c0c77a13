# SPDX-License-Identifier: Apache-2.0
"""The road: a winding centre line, its cross-section, and a map from places to road coordinates.

Road coordinates are (s, d): arc length along the centre line and signed distance from it, both in
metres, d positive to the left. The drive is on the right-hand lane and starts at s = 0, so that the
vehicle stands at the origin of the odom frame, heading along x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

STEP = 0.25
"""Spacing of the samples of the centre line, in metres."""
LEAD_IN = 160.0
"""Road that exists behind the start and beyond the end, in metres."""
KERB_HEIGHT = 0.12
BAND = 34.0
"""Half-width of the strip around the road in which (s, d) is known, in metres."""
FAR_OFFSET = 99.0
"""The |d| reported outside that strip."""


@dataclass(frozen=True)
class CrossSection:
    """Widths of the street in metres, the same on both sides."""

    lane: float
    parking: float
    pavement: float

    @property
    def kerb(self) -> float:
        """Distance of the kerb from the centre line."""
        return self.lane + self.parking

    @property
    def wall(self) -> float:
        """Distance of the back of the pavement from the centre line."""
        return self.kerb + self.pavement

    @staticmethod
    def random(rng: np.random.Generator) -> CrossSection:
        """A street of two lanes with room to park on both sides."""
        return CrossSection(float(rng.uniform(3.5, 4.0)), float(rng.uniform(2.1, 2.35)), float(rng.uniform(2.2, 3.2)))


def _turn(angle: float, radius: float) -> Array:
    """Curvature samples of a turn: clothoid in, arc, clothoid out; their sum times STEP is the angle."""
    clothoid = 7.0
    arc = max(abs(angle) * radius - clothoid, 0.5)
    ramp = np.linspace(0.0, 1.0, int(clothoid / STEP), endpoint=False)
    shape = np.concatenate([ramp, np.ones(int(arc / STEP)), ramp[::-1]])
    return np.asarray(shape * (angle / (shape.sum() * STEP)), dtype=np.float64)


def _straight(length: float, bend: float) -> Array:
    """Curvature samples of a nearly straight stretch: an S of peak curvature ``bend``, no net turn."""
    count = max(int(length / STEP), 2)
    return np.asarray(bend * np.sin(np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)), dtype=np.float64)


class Route:
    """The centre line, sampled every ``STEP`` metres from s = -LEAD_IN, with straight ends.

    Headings stay within 90 degrees of x, so the road never crosses itself. The road up to any s does
    not depend on the length asked for.
    """

    def __init__(self, rng: np.random.Generator, section: CrossSection, length: float) -> None:
        self.section = section
        self.length = length
        parts = [np.zeros(int(LEAD_IN / STEP))]
        heading, total, first = 0.0, 0.0, True
        while total < length + LEAD_IN:
            straight = rng.uniform(10.0, 16.0) if first else rng.choice([rng.uniform(18, 45), rng.uniform(50, 130)])
            radius = rng.uniform(14.0, 17.0) if first else rng.uniform(14.0, 26.0)
            angle = np.radians(rng.uniform(55.0, 85.0) if first else rng.uniform(40.0, 90.0))
            sign = rng.choice([-1.0, 1.0])
            if abs(heading + sign * angle) > np.radians(85.0):
                sign = -np.sign(heading)
            angle = min(angle, np.radians(85.0) + abs(heading)) * sign
            bend = 0.0 if first else rng.uniform(0.0, 1.0 / 140.0) * rng.choice([-1.0, 1.0])
            for part in (_straight(straight, bend), _turn(float(angle), float(radius))):
                parts.append(part)
                total += len(part) * STEP
            heading += float(angle)
            first = False
        self.curvature: Array = np.concatenate(parts)
        count = len(self.curvature)
        self.s: Array = np.asarray(np.arange(count) * STEP - LEAD_IN, dtype=np.float64)
        headings = np.concatenate([[0.0], np.cumsum((self.curvature[1:] + self.curvature[:-1]) * 0.5 * STEP)])
        origin = int(LEAD_IN / STEP)
        self.heading: Array = np.asarray(headings - headings[origin], dtype=np.float64)
        mid = (self.heading[1:] + self.heading[:-1]) * 0.5
        steps = np.stack([np.cos(mid), np.sin(mid)], axis=-1) * STEP
        xy = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
        self.xy: Array = np.asarray(xy - xy[origin] + np.array([0.0, section.lane * 0.5]), dtype=np.float64)

    @property
    def end(self) -> float:
        """The last s of the road, in metres."""
        return float(self.s[-1])

    def heading_at(self, s: npt.ArrayLike) -> Array:
        """Heading of the centre line in radians."""
        return np.asarray(np.interp(np.asarray(s, dtype=np.float64), self.s, self.heading), dtype=np.float64)

    def curvature_at(self, s: npt.ArrayLike) -> Array:
        """Curvature of the centre line in 1/m, positive in left turns."""
        return np.asarray(np.interp(np.asarray(s, dtype=np.float64), self.s, self.curvature), dtype=np.float64)

    def place(self, s: npt.ArrayLike, d: npt.ArrayLike = 0.0) -> Array:
        """Points (..., 2) of the odom frame at road coordinates s, d (broadcast together)."""
        s_, d_ = np.broadcast_arrays(np.asarray(s, dtype=np.float64), np.asarray(d, dtype=np.float64))
        heading = self.heading_at(s_)
        # Beyond its ends the road goes straight on.
        over = s_ - np.clip(s_, self.s[0], self.s[-1])
        x = np.interp(s_, self.s, self.xy[:, 0]) - np.sin(heading) * d_ + np.cos(heading) * over
        y = np.interp(s_, self.s, self.xy[:, 1]) + np.cos(heading) * d_ + np.sin(heading) * over
        return np.stack([x, y], axis=-1)


def _nearest(points: Array, line: Array) -> tuple[npt.NDArray[np.int64], Array]:
    """For each point (n, 2) the nearest sample of a line (m, 2) and its distance, refined from every 16th sample."""
    index = np.empty(len(points), dtype=np.int64)
    distance = np.empty(len(points))
    coarse = line[::16]
    norms = (coarse**2).sum(axis=1)
    for start in range(0, len(points), 8192):
        part = points[start : start + 8192]
        best = (norms - 2.0 * part @ coarse.T).argmin(axis=1) * 16
        rows = np.arange(len(part))
        for step, count in ((4, 4), (1, 3)):
            around = np.clip(best[:, None] + step * np.arange(-count, count + 1), 0, len(line) - 1)
            gaps = (line[around, 0] - part[:, :1]) ** 2 + (line[around, 1] - part[:, 1:]) ** 2
            nearest = gaps.argmin(axis=1)
            best = around[rows, nearest]
        index[start : start + 8192] = best
        distance[start : start + 8192] = np.sqrt(gaps[rows, nearest])
    return index, distance


@dataclass(frozen=True)
class RoadMap:
    """A raster of road coordinates: ``values`` (2, rows, columns) float32 = d, s at the nodes.

    Node (row j, column i) lies at lower + cell * (i, j). Bilinear lookup is exact to a few millimetres
    within the width of the street. Outside the strip d is FAR_OFFSET.
    """

    lower: tuple[float, float]
    cell: float
    values: npt.NDArray[np.float32]

    @staticmethod
    def of(route: Route, cell: float = 0.5) -> RoadMap:
        """Rasterise the strip of half-width BAND around the route."""
        # Whole multiples of the cell: a longer road gives the same nodes.
        lower = np.floor((route.xy.min(axis=0) - BAND - 4.0) / cell) * cell
        size = np.ceil((route.xy.max(axis=0) + BAND + 4.0 - lower) / cell).astype(int) + 1
        d = np.full((size[1], size[0]), FAR_OFFSET, dtype=np.float32)
        s = np.zeros((size[1], size[0]), dtype=np.float32)
        # Only blocks of 4 m near the road are searched node by node.
        block = int(round(4.0 / cell))
        rows, columns = np.meshgrid(np.arange(0, size[1], block), np.arange(0, size[0], block), indexing="ij")
        corners = np.stack([columns, rows], axis=-1).reshape(-1, 2)
        near = _nearest(corners * cell + lower + 2.0, route.xy)[1] < BAND + 3.0
        offsets = np.stack(np.meshgrid(np.arange(block), np.arange(block), indexing="xy"), axis=-1).reshape(1, -1, 2)
        nodes = (corners[near][:, None] + offsets).reshape(-1, 2)
        nodes = nodes[(nodes < size).all(axis=-1)]
        points = nodes * cell + lower
        index = _nearest(points, route.xy)[0]
        heading = route.heading[index]
        offset = points - route.xy[index]
        along = offset[:, 0] * np.cos(heading) + offset[:, 1] * np.sin(heading)
        across = -offset[:, 0] * np.sin(heading) + offset[:, 1] * np.cos(heading)
        # The centre line curves between samples: arc length shrinks or grows with the offset.
        along = along / np.clip(1.0 - route.curvature[index] * across, 0.2, 5.0)
        d[nodes[:, 1], nodes[:, 0]] = across
        s[nodes[:, 1], nodes[:, 0]] = route.s[index] + along
        return RoadMap((float(lower[0]), float(lower[1])), cell, np.stack([d, s]))

    def lookup(self, points_xy: npt.ArrayLike) -> tuple[Array, Array]:
        """Road coordinates (s, d), each (...,), of points (..., 2) of the odom frame."""
        xy = np.asarray(points_xy, dtype=np.float64)
        grid = (xy - np.asarray(self.lower)) / self.cell
        rows, columns = self.values.shape[1:]
        inside = (grid >= 0).all(-1) & (grid[..., 0] <= columns - 1.001) & (grid[..., 1] <= rows - 1.001)
        column = np.clip(grid[..., 0], 0, columns - 1.001)
        row = np.clip(grid[..., 1], 0, rows - 1.001)
        i, j = column.astype(np.int64), row.astype(np.int64)
        u, v = column - i, row - j
        both = (
            (1 - u) * (1 - v) * self.values[:, j, i]
            + u * (1 - v) * self.values[:, j, i + 1]
            + (1 - u) * v * self.values[:, j + 1, i]
            + u * v * self.values[:, j + 1, i + 1]
        )
        return np.asarray(both[1], dtype=np.float64), np.where(inside, both[0], FAR_OFFSET)
