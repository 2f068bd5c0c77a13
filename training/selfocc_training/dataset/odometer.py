# SPDX-License-Identifier: Apache-2.0
"""Distance travelled along a drive, and where odometry jumps instead of driving."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DEADBAND_M = 0.02
"""Movements below this are noise of the odometry: a vehicle that stands would otherwise collect metres."""

PAUSE_S = 2.0
"""A silence this long between samples ends a segment."""

_SLACK_M = 0.5
_ACCELERATION = 15.0
_SPEED = 70.0
_TURN_RAD, _TURN_RATE = 0.5, 1.5


class Odometer:
    """Takes the poses of a drive in order.

    A pose is a jump when no vehicle could have come there: it lies further from the place that constant velocity leads
    to than `_SLACK_M` and what `_ACCELERATION` (m/s^2) adds in that time (a (dt + dt') dt / 2 for gaps dt' and dt
    before and after the previous pose); where no velocity is known, further away than `_SPEED` (m/s) goes; or it has
    turned by more than `_TURN_RAD` and `_TURN_RATE` (rad/s).

    Attributes:
        distance_m: travelled so far; jumps do not count.
        segment: counts jumps and pauses.
        jumps: (stamp in ns, metres off) of each jump.
        pauses: (stamp in ns of the last pose before, seconds) of each.
    """

    def __init__(self) -> None:
        self.distance_m = 0.0
        self.segment = 0
        self.jumps: list[tuple[int, float]] = []
        self.pauses: list[tuple[int, float]] = []
        self._stamp_ns = 0
        self._pose: NDArray[np.float64] | None = None
        self._velocity: NDArray[np.float64] | None = None
        self._step_s = 0.0
        self._anchor = np.zeros(3)
        self._restarted = False

    def restart(self) -> None:
        """Time has jumped: the next pose begins a segment, and its stamp may be any."""
        self._restarted = True

    def add(self, stamp_ns: int, odom_from_base: NDArray[np.float64]) -> None:
        """Take the pose (4, 4) at a stamp later than those before."""
        place = odom_from_base[:3, 3]
        if self._pose is None:
            self._anchor = place
        elif self._restarted:
            self._begin(place)
        else:
            dt = (stamp_ns - self._stamp_ns) * 1e-9
            if dt > PAUSE_S:
                self.pauses.append((self._stamp_ns, dt))
                self._begin(place)
            elif (off := self._off(self._pose, odom_from_base, dt)) is not None:
                self.jumps.append((stamp_ns, off))
                self._begin(place)
            else:
                self._velocity, self._step_s = (place - self._pose[:3, 3]) / dt, dt
                moved = float(np.linalg.norm(place - self._anchor))
                if moved >= DEADBAND_M:
                    self.distance_m += moved
                    self._anchor = place
        self._stamp_ns, self._pose, self._restarted = stamp_ns, odom_from_base, False

    def _begin(self, place: NDArray[np.float64]) -> None:
        self.segment += 1
        self._velocity, self._anchor = None, place

    def _off(self, before: NDArray[np.float64], pose: NDArray[np.float64], dt: float) -> float | None:
        """Metres off the expected place if the pose is a jump, else None."""
        step = pose[:3, 3] - before[:3, 3]
        if self._velocity is None:
            off, allowed = float(np.linalg.norm(step)), _SLACK_M + _SPEED * dt
        else:
            off = float(np.linalg.norm(step - self._velocity * dt))
            allowed = _SLACK_M + 0.5 * _ACCELERATION * dt * (dt + self._step_s)
        cosine = (np.trace(before[:3, :3].T @ pose[:3, :3]) - 1.0) / 2.0
        turned = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
        return off if off > allowed or turned > _TURN_RAD + _TURN_RATE * dt else None


def standstill_share(stamps_ns: NDArray[np.int64], distance_m: NDArray[np.float64], slow: float = 0.2) -> float:
    """Share of samples (N) about which the vehicle moved less than `slow` m/s, measured over a second.

    Samples are in the order in which they were recorded; where their stamps go back, the clock was set.
    """
    if len(stamps_ns) < 2:
        return 0.0
    set_back = np.flatnonzero(np.diff(stamps_ns) <= 0) + 1
    parts = zip(np.split(stamps_ns, set_back), np.split(distance_m, set_back), strict=True)
    return float(np.mean(np.concatenate([_stands(stamps, distances, slow) for stamps, distances in parts])))


def _stands(stamps_ns: NDArray[np.int64], distance_m: NDArray[np.float64], slow: float) -> NDArray[np.bool_]:
    half = 500_000_000
    before = np.searchsorted(stamps_ns, stamps_ns - half)
    after = np.searchsorted(stamps_ns, stamps_ns + half, side="right") - 1
    seconds = np.maximum((stamps_ns[after] - stamps_ns[before]) * 1e-9, 1e-9)
    return np.asarray((distance_m[after] - distance_m[before]) / seconds < slow)
