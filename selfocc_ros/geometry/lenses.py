# SPDX-License-Identifier: Apache-2.0
"""Lens distortion, there and back: directions to distorted image-plane coordinates (x = (u - cx) / fx) and inverse.

The formulas are OpenCV's (calib3d, "Detailed Description", and fisheye), which CameraInfo refers to. Two things
OpenCV leaves to its caller are done here: a polynomial fitted to the image turns round outside it and folds
directions from far off the axis back into the image, so each lens knows where it stops being monotonic; and the
inverse is iterated until it is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MIN_DEPTH = 1e-9
"""Points with a smaller z (metres) count as behind a lens that maps x / z."""
_TABLE = 2048
_WIDEST = np.radians(89.9)  # the widest angle at which a lens that maps x / z is inverted


class Lens(Protocol):
    """What a camera needs of its lens."""

    def distort(self, points: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Image-plane coordinates x, y (...,) of points (...,3), and whether the lens maps them (else NaN)."""

    def undistort(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Directions (...,3), not normalised, that land at x, y (...,); NaN where none does."""


class Pinhole:
    """No distortion."""

    def distort(self, points: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """See `Lens`."""
        ok = points[..., 2] > MIN_DEPTH
        scale = np.divide(1.0, points[..., 2], where=ok, out=np.full(ok.shape, np.nan))
        return points[..., 0] * scale, points[..., 1] * scale, ok

    def undistort(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """See `Lens`."""
        return np.stack([x, y, np.ones_like(x)], axis=-1)


class Brown:
    """Brown-Conrady with rational radial and thin prism terms: k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4.

    `plumb_bob` is the case where all but the first five are zero.
    """

    def __init__(self, coefficients: tuple[float, ...]) -> None:
        padded = (*coefficients, *([0.0] * (12 - len(coefficients))))
        k1, k2, self.p1, self.p2, k3, k4, k5, k6, self.s1, self.s2, self.s3, self.s4 = padded
        self.numerator = np.array([1.0, k1, k2, k3])  # polynomials in r^2, lowest power first
        self.denominator = np.array([1.0, k4, k5, k6])
        self.numerator_slope = polynomial.polyder(self.numerator)
        self.denominator_slope = polynomial.polyder(self.denominator)
        # d/dr of r N(r^2) / D(r^2) has the sign of (N + 2 u N') D - 2 u N D' with u = r^2.
        twice_u = np.array([0.0, 2.0])
        rise = polynomial.polyadd(self.numerator, polynomial.polymul(twice_u, self.numerator_slope))
        fall = polynomial.polymul(twice_u, polynomial.polymul(self.numerator, self.denominator_slope))
        slope = polynomial.polysub(polynomial.polymul(rise, self.denominator), fall)

        def slopes(angles: FloatArray) -> FloatArray:
            u = np.tan(angles) ** 2
            return np.asarray(np.minimum(polynomial.polyval(u, slope), polynomial.polyval(u, self.denominator)))

        turn = _first_fall(slopes, _WIDEST)
        self.max_radius_squared = np.tan(turn) ** 2 if np.isfinite(turn) else np.inf
        """u = r^2 up to which the radial polynomial rises."""

    def distort(self, points: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """See `Lens`."""
        x, y, ok = Pinhole().distort(points)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            ok &= x * x + y * y < self.max_radius_squared
            x, y = np.where(ok, x, np.nan), np.where(ok, y, np.nan)
            xd, yd, (a, b, c, d) = self._map(x, y)
            ok &= a * d - b * c > 0.0  # tangential terms may fold a little earlier than the radial ones
        return np.where(ok, xd, np.nan), np.where(ok, yd, np.nan), ok

    def undistort(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """See `Lens`. Newton's method in two dimensions from the inverse of the radial part, to 1e-12."""
        widest = min(np.arctan(np.sqrt(self.max_radius_squared)), _WIDEST)
        table = np.tan(np.linspace(0.0, widest, _TABLE))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = polynomial.polyval(table**2, self.numerator) / polynomial.polyval(table**2, self.denominator)
        table, distorted = _rising(table, table * ratio)
        xd, yd = np.ravel(x), np.ravel(y)
        radius = np.hypot(xd, yd)
        start = np.interp(radius, distorted, table)
        scale = np.divide(start, radius, where=radius > 0.0, out=np.ones_like(radius))
        xu, yu = xd * scale, yd * scale
        tolerance = 1e-12 * (1.0 + radius)
        active = np.arange(xd.size)
        converged = np.zeros(xd.size, dtype=bool)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            for _ in range(30):
                xm, ym, (a, b, c, d) = self._map(xu[active], yu[active])
                ex, ey = xm - xd[active], ym - yd[active]
                good = np.hypot(ex, ey) <= tolerance[active]
                converged[active[good]] = True
                determinant = a * d - b * c
                xu[active] -= (d * ex - b * ey) / determinant  # one more step for those that are good costs nothing
                yu[active] -= (a * ey - c * ex) / determinant
                active = active[~good]
                if active.size == 0:
                    break
            converged &= xu * xu + yu * yu < self.max_radius_squared
        directions = np.stack([xu, yu, np.ones_like(xu)], axis=-1)
        directions[~converged] = np.nan
        return directions.reshape(*np.shape(x), 3)

    def _map(
        self, x: FloatArray, y: FloatArray
    ) -> tuple[FloatArray, FloatArray, tuple[FloatArray, FloatArray, FloatArray, FloatArray]]:
        """Distorted x, y and the Jacobian (dxd/dx, dxd/dy, dyd/dx, dyd/dy)."""
        u = x * x + y * y
        n, d = polynomial.polyval(u, self.numerator), polynomial.polyval(u, self.denominator)
        g = n / d
        slope = (polynomial.polyval(u, self.numerator_slope) - g * polynomial.polyval(u, self.denominator_slope)) / d
        xd = x * g + 2.0 * self.p1 * x * y + self.p2 * (u + 2.0 * x * x) + u * (self.s1 + self.s2 * u)
        yd = y * g + 2.0 * self.p2 * x * y + self.p1 * (u + 2.0 * y * y) + u * (self.s3 + self.s4 * u)
        prism_x, prism_y = 2.0 * (self.s1 + 2.0 * self.s2 * u), 2.0 * (self.s3 + 2.0 * self.s4 * u)
        cross = 2.0 * (x * y * slope + self.p1 * x + self.p2 * y)
        jacobian = (
            g + 2.0 * x * x * slope + 2.0 * self.p1 * y + 6.0 * self.p2 * x + prism_x * x,
            cross + prism_x * y,
            cross + prism_y * x,
            g + 2.0 * y * y * slope + 6.0 * self.p1 * y + 2.0 * self.p2 * x + prism_y * y,
        )
        return xd, yd, jacobian


class Fisheye:
    """Equidistant (Kannala and Brandt 2006): radius = t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8), t the angle off axis.

    Maps directions up to where the polynomial turns round, beyond 90 degrees too (OpenCV stops there).
    """

    def __init__(self, coefficients: tuple[float, ...]) -> None:
        self.polynomial = np.array([1.0, *coefficients])  # in t^2
        self.slope = self.polynomial * (2.0 * np.arange(5) + 1.0)
        self.max_angle = min(_first_fall(lambda angle: polynomial.polyval(angle**2, self.slope), np.pi), np.pi)
        """Angle off the axis (radians) up to which the radius rises."""

    def distort(self, points: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """See `Lens`."""
        across = np.hypot(points[..., 0], points[..., 1])
        angle = np.arctan2(across, points[..., 2])
        ok = (angle < self.max_angle) & ((across > 0.0) | (points[..., 2] > 0.0))
        radius = angle * polynomial.polyval(angle * angle, self.polynomial)
        scale = np.divide(radius, across, where=across > 0.0, out=np.zeros_like(across))
        scale = np.where(ok, scale, np.nan)
        return points[..., 0] * scale, points[..., 1] * scale, ok

    def undistort(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """See `Lens`. Newton's method for the angle, to 1e-13."""
        table = np.linspace(0.0, self.max_angle, _TABLE)
        table, distorted = _rising(table, table * polynomial.polyval(table**2, self.polynomial))
        radius = np.hypot(x, y)
        angle = np.interp(radius, distorted, table)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            for _ in range(30):
                error = angle * polynomial.polyval(angle * angle, self.polynomial) - radius
                if np.all(np.abs(error) <= 1e-15 * (1.0 + radius)):
                    break
                step = error / polynomial.polyval(angle * angle, self.slope)
                angle = np.clip(angle - step, 0.0, self.max_angle)
            error = angle * polynomial.polyval(angle * angle, self.polynomial) - radius
            ok = (np.abs(error) <= 1e-12 * (1.0 + radius)) & (angle < self.max_angle)
        scale = np.divide(np.sin(angle), radius, where=radius > 0.0, out=np.ones_like(radius))
        directions = np.stack([x * scale, y * scale, np.cos(angle)], axis=-1)
        directions[~ok] = np.nan
        return directions


def _first_fall(slopes: Callable[[FloatArray], FloatArray], end: float) -> float:
    """The smallest angle below `end` at which a slope is no longer positive, infinity if there is none.

    Found on a table and refined by bisection, because the roots of a polynomial whose last coefficients are nearly
    zero, as calibrations have them, cannot be trusted.
    """
    angles = np.linspace(0.0, end, _TABLE)
    falls = np.flatnonzero(~(slopes(angles) > 0.0))
    if falls.size == 0:
        return float("inf")
    low, high = angles[falls[0] - 1], angles[falls[0]]
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slopes(np.array([middle]))[0] > 0.0 else (low, middle)
    return float(low)


def _rising(argument: FloatArray, value: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The part of a table up to where it stops rising: rounding at the very turn must not upset `np.interp`."""
    falls = np.flatnonzero(~(np.diff(value) > 0.0))
    end = int(falls[0]) + 1 if falls.size else len(value)
    return argument[:end], value[:end]
