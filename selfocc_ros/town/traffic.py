# SPDX-License-Identifier: Apache-2.0
"""What moves: cars before, behind and towards the vehicle, people along and across the street.

Every pose is a function of time alone. Nobody comes near the vehicle, and nobody walks into a moving car.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from selfocc_ros.town import things
from selfocc_ros.town.drive import Drive
from selfocc_ros.town.layout import BEGIN, SIDES, Ground
from selfocc_ros.town.objects import Solids, Thing, build

Array = npt.NDArray[np.float64]

HEADWAY_S = 2.4
HEADWAY_M = 9.0


class Traffic:
    """All moving things; ``solids(t_s)`` gives them where they are at a time."""

    def __init__(
        self, seed: int, ground: Ground, drive: Drive, zebras: Array, first_actor: int, jam: bool = False
    ) -> None:
        self._ground, self._drive = ground, drive
        self._things: list[Thing] = []
        self._first_actor = first_actor
        self._cars(np.random.default_rng([seed, 21]), jam)
        self._walkers(np.random.default_rng([seed, 22]))
        self._crossers(np.random.default_rng([seed, 23]), zebras)

    def _cars(self, rng: np.random.Generator, jam: bool) -> None:
        """One leader, one follower, and a column of oncoming cars at one common speed; in a jam dense, at rest."""
        self._same_way = [1.0, -1.0] if rng.random() < 0.8 else [-1.0]
        self._things += [things.car(rng) for _ in self._same_way]
        self._oncoming_speed = float(rng.uniform(4.5, 8.0)) * (not jam)
        starts = []
        s = 12.0
        reach = self._ground.route.length + self._oncoming_speed * self._drive.duration_s + 60.0
        while s < reach:
            starts.append(s)
            kind = rng.random()
            self._things.append(things.bus(rng) if kind < 0.02 else things.van(rng) if kind < 0.08 else things.car(rng))
            s += float(rng.uniform(22.0, 75.0)) * (0.4 if jam else 1.0)
        self._oncoming = np.asarray(starts)

    def _walkers(self, rng: np.random.Generator) -> None:
        section = self._ground.route.section
        rows = []
        s = BEGIN
        while s < self._ground.route.end - 10.0:
            s += float(rng.exponential(8.0)) + 0.5
            side = float(rng.choice(SIDES))
            d = side * rng.uniform(section.kerb + 1.05, section.wall - 0.35)
            speed = 0.0 if rng.random() < 0.25 else float(rng.choice([-1.0, 1.0])) * rng.uniform(0.8, 1.7)
            rows.append((s, d, speed, rng.uniform(-np.pi, np.pi)))
            self._things.append(things.pedestrian(rng))
        self._walking = np.asarray(rows)

    def _crossers(self, rng: np.random.Generator, zebras: Array) -> None:
        """People on the zebra crossings, at moments when no car is near."""
        section = self._ground.route.section
        rows = []
        for zebra in zebras:
            passing = float(self._drive.time_at(zebra))
            for _ in range(int(rng.integers(1, 4))):
                side, speed = float(rng.choice(SIDES)), float(rng.uniform(1.1, 1.7))
                candidates = passing + rng.uniform(-20.0, 8.0, 8)
                shift = float(rng.uniform(-0.9, 0.9))
                person = things.pedestrian(rng)
                for start in candidates:
                    row = (zebra + shift, side * (section.kerb + 0.9), -side * speed, start)
                    if self._safe(row):
                        rows.append(row)
                        self._things.append(person)
                        break
        self._crossing = np.asarray(rows).reshape(-1, 4)

    def _crossing_d(self, rows: Array, t_s: npt.ArrayLike) -> Array:
        """Offset from the centre line: waits at the kerb, crosses, and waits on the other side."""
        walked = rows[..., 2] * np.clip(np.asarray(t_s) - rows[..., 3], 0.0, None)
        limit = np.abs(rows[..., 1])
        return np.asarray(np.clip(rows[..., 1] + walked, -limit, limit), dtype=np.float64)

    def _safe(self, row: tuple[float, float, float, float]) -> bool:
        """Nobody drives within 4 m of the crossing person's place while the person is on the road."""
        table = np.asarray(row)
        kerb = self._ground.route.section.kerb
        times = row[3] + np.arange(-1.0, 2.2 * (kerb + 1.0) / abs(row[2]) + 1.0, 0.2)
        on_road = np.abs(self._crossing_d(table, times)) < kerb + 0.3
        times = times[on_road]
        own = self._drive.along(times)
        before = [own] + [self._follow(times, way) for way in self._same_way]
        if min(float(np.abs(s - row[0]).min()) for s in before) < 7.0:
            return False
        oncoming = self._oncoming[None, :] - self._oncoming_speed * times[:, None]
        return float(np.abs(oncoming - row[0]).min()) > 6.5

    def _follow(self, t_s: npt.ArrayLike, way: float) -> Array:
        """Arc length of the car before (+1) or behind (-1): the vehicle's own motion, earlier or later."""
        return np.asarray(self._drive.along(np.asarray(t_s) + way * HEADWAY_S) + way * HEADWAY_M, dtype=np.float64)

    def places(self, t_s: float) -> Array:
        """Places (n, 4) = x, y, ground height, yaw of all moving things."""
        route = self._ground.route
        lane = route.section.lane * 0.5
        follow = np.array([float(self._follow(t_s, way)) for way in self._same_way])
        oncoming = self._oncoming - self._oncoming_speed * t_s
        walking, crossing = self._walking, self._crossing
        s = np.concatenate([follow, oncoming, walking[:, 0] + walking[:, 2] * t_s, crossing[:, 0]])
        d = np.concatenate(
            [np.full(len(follow), -lane), np.full(len(oncoming), lane), walking[:, 1], self._crossing_d(crossing, t_s)]
        )
        turn = np.concatenate(
            [
                np.zeros(len(follow)),
                np.full(len(oncoming), np.pi),
                np.where(walking[:, 2] > 0, 0.0, np.where(walking[:, 2] < 0, np.pi, walking[:, 3])),
                np.sign(crossing[:, 2]) * np.pi * 0.5,
            ]
        )
        xy = route.place(s, d)
        return np.concatenate([xy, self._ground.height(xy)[:, None], (route.heading_at(s) + turn)[:, None]], axis=1)

    def solids(self, t_s: float) -> Solids:
        """The moving things at a time in seconds; ``moving`` is false for what stands all along."""
        table = build(self._things, self.places(t_s), moving=True, first_actor=self._first_actor)
        first = len(self._same_way) + len(self._oncoming)
        still = np.zeros(len(self._things), dtype=np.bool_)
        still[len(self._same_way) : first] = self._oncoming_speed == 0.0
        still[first : first + len(self._walking)] = self._walking[:, 2] == 0.0
        table.moving = ~still[table.actor - self._first_actor]
        return table
