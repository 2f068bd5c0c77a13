# SPDX-License-Identifier: Apache-2.0
"""The lie of the land: a smooth height field whose slope nowhere exceeds 3 %."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MAX_SLOPE = 0.03


@dataclass(frozen=True)
class Terrain:
    """A sum of long waves: height(x, y) = sum a_i sin(k_i . (x, y) + phase_i) - offset, in metres.

    The sum of a_i |k_i| bounds the slope, and is at most ``MAX_SLOPE``.
    """

    waves: tuple[tuple[float, float, float, float], ...]  # amplitude [m], kx, ky [rad/m], phase
    offset: float

    @staticmethod
    def random(rng: np.random.Generator) -> Terrain:
        """Three waves of 120 to 300 m, zero height at the origin."""
        total = rng.uniform(0.012, MAX_SLOPE)
        shares = rng.dirichlet((3.0, 3.0, 3.0)) * total
        waves = []
        for share in shares:
            k = 2.0 * np.pi / rng.uniform(120.0, 300.0)
            angle = rng.uniform(0.0, 2.0 * np.pi)
            waves.append(
                (
                    float(share / k),
                    float(k * np.cos(angle)),
                    float(k * np.sin(angle)),
                    float(rng.uniform(0.0, 2.0 * np.pi)),
                )
            )
        offset = sum(a * np.sin(p) for a, _, _, p in waves)
        return Terrain(tuple(waves), float(offset))

    def height(self, points_xy: npt.ArrayLike) -> Array:
        """Height (...,) of the smooth ground in metres under points (..., 2) of the odom frame."""
        xy = np.asarray(points_xy, dtype=np.float64)
        total = np.full(xy.shape[:-1], -self.offset)
        for a, kx, ky, phase in self.waves:
            total += a * np.sin(kx * xy[..., 0] + ky * xy[..., 1] + phase)
        return total

    def gradient(self, points_xy: npt.ArrayLike) -> Array:
        """Slope (..., 2) = (dh/dx, dh/dy) under points (..., 2) of the odom frame."""
        xy = np.asarray(points_xy, dtype=np.float64)
        slope = np.zeros(xy.shape)
        for a, kx, ky, phase in self.waves:
            c = a * np.cos(kx * xy[..., 0] + ky * xy[..., 1] + phase)
            slope[..., 0] += kx * c
            slope[..., 1] += ky * c
        return slope
