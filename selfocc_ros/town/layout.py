# SPDX-License-Identifier: Apache-2.0
"""Where things stand: houses, hedges, parked cars and street furniture along the road.

Every row of things has its own generator and is drawn walking along the road, so a longer road starts
with the same street.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from selfocc_ros.town import things
from selfocc_ros.town.objects import Solids, Thing, build
from selfocc_ros.town.route import KERB_HEIGHT, RoadMap, Route
from selfocc_ros.town.terrain import Terrain

Array = npt.NDArray[np.float64]

BEGIN = -130.0
SIDES = (-1.0, 1.0)


@dataclass
class Ground:
    """Terrain, route and map together: what a thing needs to find its place."""

    terrain: Terrain
    route: Route
    road: RoadMap

    def height(self, points_xy: npt.ArrayLike) -> Array:
        """True height of the ground (..., ) under points (..., 2), pavements included."""
        _, d = self.road.lookup(points_xy)
        raised = np.abs(d) >= self.route.section.kerb
        return np.asarray(self.terrain.height(points_xy) + KERB_HEIGHT * raised, dtype=np.float64)

    def stand(self, xy: Array, yaw: float) -> tuple[float, float, float, float]:
        """A place (x, y, ground height, yaw) for ``build``."""
        return float(xy[0]), float(xy[1]), float(self.height(xy)), float(yaw)


@dataclass
class _Rows:
    things: list[Thing] = field(default_factory=list)
    places: list[tuple[float, float, float, float]] = field(default_factory=list)

    def add(self, thing: Thing, place: tuple[float, float, float, float]) -> None:
        self.things.append(thing)
        self.places.append(place)


def crossings(rng: np.random.Generator, route: Route) -> Array:
    """Arc lengths of the zebra crossings, on stretches that do not turn."""
    found: list[float] = []
    s = -100.0
    while s < route.end - 40.0:
        s += float(rng.uniform(35.0, 80.0))
        if np.abs(route.curvature_at(s + np.linspace(-5, 5, 11))).max() < 0.03:
            found.append(s)
    return np.asarray(found, dtype=np.float64)


def _footprint(route: Route, s: float, d: float, yaw: float, x: tuple[float, float], y: tuple[float, float]) -> Array:
    """Points (n, 2) of the odom frame covering a rectangle of a thing that stands at s, d."""
    grid = np.stack(np.meshgrid(np.linspace(*x, 7), np.linspace(*y, 9), indexing="ij"), -1).reshape(-1, 2)
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.asarray(route.place(s, d) + grid @ np.array([[cos, sin], [-sin, cos]]), dtype=np.float64)


def _clear_of_street(ground: Ground, points: Array, margin: float) -> bool:
    _, d = ground.road.lookup(points)
    return bool(np.abs(d).min() > ground.route.section.wall + margin)


def _houses(rng: np.random.Generator, ground: Ground, side: float, rows: _Rows) -> None:
    route = ground.route
    wall = route.section.wall
    s = BEGIN
    floors = int(rng.integers(2, 6))
    while s < route.end - 20.0:
        width = float(rng.uniform(7.0, 15.0))
        depth = float(rng.uniform(7.0, 11.0))
        setback = float(rng.choice([0.15, 0.15, 0.6, 1.5, 3.0]))
        floors = int(np.clip(floors + rng.integers(-1, 2), 1, 6))
        gap, hedge_length = float(rng.uniform(3.0, 9.0)), float(rng.uniform(3.0, 6.0))
        is_gap = rng.random() < 0.16
        drawn = things.house(rng, width, depth, floors)
        fence = things.hedge(rng, hedge_length)
        step = gap if is_gap else width
        if not is_gap:
            placed = False
            for extra in (0.0, 0.8, 2.0, 4.0, 7.0):
                d = side * (wall + setback + extra)
                # On the outside of a turn the front is longer than the road beside it.
                stretch = max(1.0 - float(route.curvature_at(s + width * 0.5)) * d, 0.35)
                advance = width / stretch
                middle = s + 0.5 * advance
                yaw = float(route.heading_at(middle)) - side * np.pi * 0.5
                points = _footprint(route, middle, d, yaw, (-depth, 0.4), (-width * 0.5, width * 0.5))
                if _clear_of_street(ground, points, 0.1):
                    rows.add(drawn, ground.stand(route.place(middle, d), yaw))
                    step, placed = min(advance, 2.0 * width), True
                    break
            is_gap = not placed
            step = step if placed else 4.0
        if is_gap:
            middle = s + 0.5 * step
            d = side * (wall + 0.6)
            yaw = float(route.heading_at(middle))
            reach = hedge_length * 0.5
            if _clear_of_street(ground, _footprint(route, middle, d, yaw, (-reach, reach), (-0.45, 0.45)), 0.02):
                rows.add(fence, ground.stand(route.place(middle, d), yaw))
        s += step + (0.0 if rng.random() < 0.7 else float(rng.uniform(0.2, 1.5)))


def _backdrop(rng: np.random.Generator, ground: Ground, side: float, rows: _Rows) -> None:
    """Tall blocks and trees behind the first row, so that gaps do not show an empty plain."""
    route = ground.route
    s = BEGIN
    while s < route.end - 20.0:
        width, depth = float(rng.uniform(14.0, 24.0)), float(rng.uniform(8.0, 12.0))
        d = side * float(rng.uniform(22.0, 32.0))
        block = things.house(rng, width, depth, int(rng.integers(3, 8)))
        plant = things.tree(rng)
        offset = side * float(rng.uniform(14.0, 20.0))
        yaw = float(route.heading_at(s)) - side * np.pi * 0.5
        if _clear_of_street(ground, _footprint(route, s, d, yaw, (-depth, 1.0), (-width / 2, width / 2)), 4.0):
            rows.add(block, ground.stand(route.place(s, d), yaw))
        if _clear_of_street(ground, _footprint(route, s, offset, yaw, (-2.0, 2.0), (-2.0, 2.0)), 1.0):
            rows.add(plant, ground.stand(route.place(s, offset), yaw))
        s += float(rng.uniform(16.0, 30.0))


def _parked(rng: np.random.Generator, ground: Ground, side: float, zebras: Array, rows: _Rows) -> None:
    route = ground.route
    section = route.section
    s = BEGIN
    density = rng.uniform(0.5, 0.85)
    while s < route.end - 20.0:
        slot = float(rng.uniform(5.4, 6.6))
        present, kind = rng.random() < density, rng.random()
        drawn = things.van(rng) if kind < 0.1 else things.car(rng)
        works = (things.barrier(rng), things.cone(rng), things.cone(rng))
        twist = float(rng.normal(0.0, 0.02)) + (np.pi if rng.random() < 0.15 else 0.0)
        wobble = float(rng.uniform(-0.06, 0.1))
        middle = s + 0.5 * slot + (0.4 if kind < 0.1 else 0.0)
        s += slot + (0.8 if kind < 0.1 else 0.0)
        straight = np.abs(route.curvature_at(middle + np.linspace(-6.0, 6.0, 13))).max() < 0.025
        if not straight or (len(zebras) and np.abs(zebras - middle).min() < 7.0):
            continue
        half = 1.02 if drawn.label.name == "TRUCK" else 0.93
        d = side * (section.kerb - half - 0.12 - wobble)
        heading = float(route.heading_at(middle)) + (np.pi if side > 0 else 0.0)
        if present:
            rows.add(drawn, ground.stand(route.place(middle, d), heading + twist))
        elif kind > 0.93:
            for thing, shift in zip(works, (0.0, 1.6, -1.6), strict=True):
                rows.add(thing, ground.stand(route.place(middle + shift, d), heading))


def _furniture(rng: np.random.Generator, ground: Ground, side: float, zebras: Array, rows: _Rows) -> None:
    route = ground.route
    section = route.section
    s = BEGIN
    makers: tuple[Callable[[np.random.Generator], Thing], ...] = (
        things.tree,
        things.lamp,
        things.litter_bin,
        things.sign,
        things.planter,
        things.bicycle,
    )
    while s < route.end - 20.0:
        s += float(rng.uniform(4.5, 9.5))
        kind = int(rng.choice(6, p=(0.36, 0.2, 0.12, 0.14, 0.1, 0.08)))
        thing = makers[kind](rng)
        d = side * (section.kerb + 0.5)
        heading = float(route.heading_at(s))
        if len(zebras) and np.abs(zebras - s).min() < 2.5:
            continue
        # Lamps reach over the road (their arm is along -x), signs face the traffic, the rest stand along the kerb.
        yaw = heading + (side * np.pi * 0.5 if kind == 1 else np.pi * 0.5 * (1 - side) + np.pi if kind == 3 else 0.0)
        points = _footprint(route, s, d, heading, (-0.4, 0.4), (-0.35, 0.35))
        _, offset = ground.road.lookup(points)
        if np.abs(offset).min() > section.kerb + 0.05:
            rows.add(thing, ground.stand(route.place(s, d), yaw))


def static_things(seed: int, ground: Ground, zebras: Array) -> Solids:
    """Everything that never moves."""
    rows = _Rows()
    for i, side in enumerate(SIDES):
        _houses(np.random.default_rng([seed, 10, i]), ground, side, rows)
        _backdrop(np.random.default_rng([seed, 11, i]), ground, side, rows)
        _parked(np.random.default_rng([seed, 12, i]), ground, side, zebras, rows)
        _furniture(np.random.default_rng([seed, 13, i]), ground, side, zebras, rows)
    return build(rows.things, np.asarray(rows.places), moving=False)
