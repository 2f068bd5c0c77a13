# SPDX-License-Identifier: Apache-2.0
"""The drive: how the vehicle moves along its lane, at 2 to 14 m/s, slow in turns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from selfocc_ros.town.route import LEAD_IN, STEP, Route
from selfocc_ros.town.terrain import Terrain

Array = npt.NDArray[np.float64]

MIN_SPEED, MAX_SPEED = 2.0, 13.9
LATERAL_ACCELERATION = 2.3
ACCELERATION, BRAKING = 1.6, 2.2


def _speed_profile(rng: np.random.Generator, route: Route) -> Array:
    """Speed in m/s at every sample of the centre line."""
    s = route.s
    knots = np.arange(-LEAD_IN, s[-1] + 25.0, 25.0)
    draws = rng.random((len(knots), 2))  # row by row, so that a longer road starts the same
    wishes = 5.0 + 10.0 * draws[:, 0]
    wishes[draws[:, 1] < 0.12] = MIN_SPEED  # somebody waits ahead
    wishes[np.abs(knots) < 30.0] = np.clip(wishes[np.abs(knots) < 30.0], 5.5, 9.0)
    wish = np.interp(s, knots, wishes)
    bend = np.maximum(np.abs(route.curvature), 1e-4)
    speed = np.clip(np.minimum(wish, np.sqrt(LATERAL_ACCELERATION / bend)), MIN_SPEED, MAX_SPEED)
    for i in range(1, len(speed)):
        speed[i] = min(speed[i], np.sqrt(speed[i - 1] ** 2 + 2.0 * ACCELERATION * STEP))
    for i in range(len(speed) - 2, -1, -1):
        speed[i] = min(speed[i], np.sqrt(speed[i + 1] ** 2 + 2.0 * BRAKING * STEP))
    window = np.hanning(25)
    padded = np.pad(speed, 12, mode="edge")
    return np.asarray(np.convolve(padded, window / window.sum(), mode="valid"), dtype=np.float64)


class Drive:
    """The vehicle's motion; time 0 is s = 0. Times outside 0 .. ``duration_s`` are extrapolated.

    ``base_link`` is on the road surface below the vehicle's middle: x along the heading, z along the
    normal of the ground.
    """

    def __init__(self, rng: np.random.Generator, route: Route, terrain: Terrain) -> None:
        self._route = route
        self._terrain = terrain
        self.lane_offset = -route.section.lane * 0.5
        profile = _speed_profile(rng, route)
        step = np.concatenate([[0.0], 2.0 * STEP / (profile[1:] + profile[:-1])])
        times = np.cumsum(step)
        times -= np.interp(0.0, route.s, times)
        self._time, self._s, self._speed = times, route.s, profile
        self.duration_s = float(np.interp(route.length, route.s, times))

    def along(self, t_s: npt.ArrayLike) -> Array:
        """Arc length s of the centre line beside the vehicle, in metres, at times in seconds."""
        t = np.asarray(t_s, dtype=np.float64)
        over = t - np.clip(t, self._time[0], self._time[-1])
        return np.asarray(np.interp(t, self._time, self._s) + over * self._speed[0], dtype=np.float64)

    def time_at(self, s: npt.ArrayLike) -> Array:
        """The inverse of ``along``, within the road."""
        return np.asarray(np.interp(np.asarray(s, dtype=np.float64), self._s, self._time), dtype=np.float64)

    def speed(self, t_s: float) -> float:
        """Speed in m/s along the centre line."""
        return float(np.interp(t_s, self._time, self._speed))

    def distance(self, t_s: float) -> float:
        """Metres driven since t = 0."""
        return float(self.along(t_s))

    def odom_from_base(self, t_s: float) -> Array:
        """Pose (4, 4) of base_link in odom at a time in seconds."""
        s = float(self.along(t_s))
        xy = self._route.place(s, self.lane_offset)
        return ground_pose(self._terrain, xy, float(self._route.heading_at(s)))


def ground_pose(terrain: Terrain, xy: Array, heading: float) -> Array:
    """Pose (4, 4) of a frame standing on the ground at ``xy`` with z along the ground's normal."""
    slope = terrain.gradient(xy)
    normal = np.array([-slope[0], -slope[1], 1.0])
    normal /= np.linalg.norm(normal)
    forward = np.array([np.cos(heading), np.sin(heading), 0.0])
    forward -= normal * (forward @ normal)
    forward /= np.linalg.norm(forward)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([forward, np.cross(normal, forward), normal], axis=1)
    pose[:3, 3] = (xy[0], xy[1], float(terrain.height(xy)))
    return pose
