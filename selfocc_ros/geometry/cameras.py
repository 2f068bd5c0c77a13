# SPDX-License-Identifier: Apache-2.0
"""A camera's intrinsics: points in its optical frame to pixels and back.

Pixels are (u, v) with integer coordinates at pixel centres, as in OpenCV and CameraInfo: an image W wide covers
-0.5 <= u < W - 0.5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.lenses import Brown, Fisheye, Lens, Pinhole

FloatArray = NDArray[np.float64]

COEFFICIENTS = {"pinhole": (0,), "plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
"""Distortion models by their CameraInfo names, and how many coefficients each may have."""

_ALIASES = {"": "pinhole", "none": "pinhole", "fisheye": "equidistant", "kannala_brandt": "equidistant"}


class CalibrationError(SelfOccError, ValueError):
    """Intrinsics or a rig that cannot be used; says what was found and what was expected."""


@dataclass(frozen=True, eq=False)
class CameraModel:
    """Size, camera matrix and lens of one camera.

    Attributes:
        width, height: image size in pixels.
        matrix: (3,3) float64 camera matrix K, read-only; focal lengths and principal point in pixels.
        model: 'pinhole', 'plumb_bob', 'rational_polynomial' or 'equidistant', as in sensor_msgs/CameraInfo.
        distortion: the model's coefficients in OpenCV's order: k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4 [0 0]]]], and
            k1 k2 k3 k4 for equidistant. A tilted sensor (the last two of 14) is not supported.

    Raises:
        CalibrationError: an empty image, NaN, fx or fy not above 0 (K[0] == 0 is how ROS says "uncalibrated"), an
            unknown model or a wrong number of coefficients.
    """

    width: int
    height: int
    matrix: FloatArray
    model: str = "pinhole"
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        distortion = tuple(float(c) for c in self.distortion)
        if int(self.width) < 1 or int(self.height) < 1:
            raise CalibrationError(f"the image size must be at least 1x1, found {self.width}x{self.height}")
        if matrix.shape != (3, 3):
            raise CalibrationError(f"the camera matrix K must be 3x3, found shape {matrix.shape}")
        if not np.all(np.isfinite(matrix)):
            raise CalibrationError(f"the camera matrix K holds NaN or infinity: {matrix.ravel().tolist()}")
        if matrix[0, 0] == 0.0:
            raise CalibrationError("the camera is uncalibrated: K[0] is 0")
        if matrix[0, 0] < 0.0 or matrix[1, 1] <= 0.0:
            raise CalibrationError(f"focal lengths must be above 0, found {matrix[0, 0]:g} and {matrix[1, 1]:g}")
        if matrix[1, 0] != 0.0 or tuple(matrix[2]) != (0.0, 0.0, 1.0):
            raise CalibrationError(f"K must be [fx s cx; 0 fy cy; 0 0 1], found {matrix.ravel().tolist()}")
        if self.model not in COEFFICIENTS:
            known = ", ".join(COEFFICIENTS)
            raise CalibrationError(f"unknown distortion model '{self.model}', expected one of {known}")
        if len(distortion) not in COEFFICIENTS[self.model]:
            expected = " or ".join(str(n) for n in COEFFICIENTS[self.model])
            raise CalibrationError(
                f"distortion model '{self.model}' takes {expected} coefficients, found {len(distortion)}"
            )
        if not np.all(np.isfinite(distortion)):
            raise CalibrationError(f"the distortion coefficients hold NaN or infinity: {list(distortion)}")
        if any(distortion[12:]):
            raise CalibrationError(f"a tilted sensor is not supported (last coefficients {list(distortion[12:])})")
        matrix.setflags(write=False)
        object.__setattr__(self, "width", int(self.width))
        object.__setattr__(self, "height", int(self.height))
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "distortion", distortion)

    @classmethod
    def from_camera_info(
        cls, width: int, height: int, k: ArrayLike, d: Sequence[float] = (), distortion_model: str = "pinhole"
    ) -> CameraModel:
        """The camera of CameraInfo's fields: K as 9 numbers or 3x3, D as any sequence.

        No coefficients means no distortion (equidistant excepted: it needs its four), whatever the model is called,
        and so does an empty model name or 'none' with zeros.
        """
        matrix = np.array(k, dtype=np.float64)
        if matrix.size != 9:
            raise CalibrationError(f"the camera matrix K has 9 numbers, found {matrix.size}")
        name = str(distortion_model).strip().lower()
        model = _ALIASES.get(name, name)
        distortion = tuple(float(c) for c in d)
        if model == "pinhole" and any(distortion):
            raise CalibrationError(
                f"{len(distortion)} distortion coefficients come without a distortion model (found '{name}'), "
                f"expected one of {', '.join(COEFFICIENTS)}"
            )
        if model == "pinhole" or (not distortion and model in COEFFICIENTS and model != "equidistant"):
            return cls(width, height, matrix.reshape(3, 3))
        return cls(width, height, matrix.reshape(3, 3), model, distortion)

    def info_fields(self) -> dict[str, Any]:
        """CameraInfo's fields of this camera by name, arrays flat in float64.

        R is the identity and P = [K 0]: nothing is rectified. No distortion is plumb_bob with five zeros, which all who
        read CameraInfo know.
        """
        pinhole = self.model == "pinhole"
        return {
            "height": self.height,
            "width": self.width,
            "distortion_model": "plumb_bob" if pinhole else self.model,
            "d": np.array((0.0,) * 5 if pinhole else self.distortion, np.float64),
            "k": np.array(self.matrix, np.float64).reshape(-1),
            "r": np.eye(3).reshape(-1),
            "p": np.hstack([self.matrix, np.zeros((3, 1))]).reshape(-1),
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CameraModel) and self._bytes() == other._bytes()

    def __hash__(self) -> int:
        return hash(self._bytes())

    @property
    def is_distorted(self) -> bool:
        """Whether straight lines come out bent."""
        return self.model == "equidistant" or any(self.distortion)

    def project(self, points: ArrayLike) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Pixels (...,2) of points (...,3) in the camera frame (metres), and which of them are valid (...,).

        Valid: in front of the camera (an equidistant lens may see further round than 90 degrees), where the lens
        model is monotonic (further out, polynomials fold back into the image), and inside the image rectangle.
        Pixels outside the image are right but not valid; those the lens does not map are NaN.
        """
        xyz = np.asarray(points, dtype=np.float64)
        x, y, ok = self._lens.distort(xyz)
        k = self.matrix
        pixels = np.stack([k[0, 0] * x + k[0, 1] * y + k[0, 2], k[1, 1] * y + k[1, 2]], axis=-1)
        u, v = pixels[..., 0], pixels[..., 1]
        with np.errstate(invalid="ignore"):
            inside = (u >= -0.5) & (u < self.width - 0.5) & (v >= -0.5) & (v < self.height - 0.5)
        return pixels, ok & inside

    def unproject(self, pixels: ArrayLike) -> FloatArray:
        """Unit directions (...,3) in the camera frame of pixels (...,2), inside the image or not.

        The inverse of `project` to 1e-9. NaN where no direction leads to the pixel: outside the image of a lens
        whose polynomial turns round before it.
        """
        uv = np.asarray(pixels, dtype=np.float64)
        k = self.matrix
        y = (uv[..., 1] - k[1, 2]) / k[1, 1]
        x = (uv[..., 0] - k[0, 2] - k[0, 1] * y) / k[0, 0]
        directions = self._lens.undistort(x, y)
        return np.asarray(directions / np.linalg.norm(directions, axis=-1, keepdims=True))

    def pixel_rays(self) -> FloatArray:
        """Unit directions (H,W,3) of all pixel centres; computed once, read-only, NaN as in `unproject`."""
        return self._pixel_rays

    def resized(self, width: int, height: int) -> CameraModel:
        """The camera of the image scaled to another size: f' = s f, c' = s (c + 0.5) - 0.5 along each axis."""
        sx, sy = width / self.width, height / self.height
        k = self.matrix
        matrix = [
            [k[0, 0] * sx, k[0, 1] * sx, (k[0, 2] + 0.5) * sx - 0.5],
            [0.0, k[1, 1] * sy, (k[1, 2] + 0.5) * sy - 0.5],
            [0.0, 0.0, 1.0],
        ]
        return CameraModel(width, height, np.array(matrix), self.model, self.distortion)

    def cropped(self, left: int, top: int, width: int, height: int) -> CameraModel:
        """The camera of the rectangle whose first pixel is (left, top); it may reach beyond the image (padding)."""
        matrix = np.array(self.matrix)
        matrix[:2, 2] -= (left, top)
        return CameraModel(width, height, matrix, self.model, self.distortion)

    def strided(self, stride: int) -> CameraModel:
        """The camera of every `stride`-th pixel of the image, from the first on: f' = f / s, c' = c / s."""
        matrix = np.array(self.matrix)
        matrix[:2] /= stride
        return CameraModel(-(-self.width // stride), -(-self.height // stride), matrix, self.model, self.distortion)

    def undistorted(self) -> CameraModel:
        """The pinhole camera of the same matrix and size."""
        return CameraModel(self.width, self.height, self.matrix)

    def fingerprint(self) -> str:
        """A short hash of everything: equal cameras have equal fingerprints."""
        return hashlib.sha256(self._bytes()).hexdigest()[:16]

    def _bytes(self) -> bytes:
        numbers = np.array([self.width, self.height, *self.matrix.ravel(), *self.distortion]) + 0.0  # -0.0 is 0.0
        return self.model.encode() + b"\0" + numbers.tobytes()

    @cached_property
    def _lens(self) -> Lens:
        if self.model == "equidistant":
            return Fisheye(self.distortion)
        return Brown(self.distortion[:12]) if self.is_distorted else Pinhole()

    @cached_property
    def _pixel_rays(self) -> FloatArray:
        v, u = np.mgrid[0 : self.height, 0 : self.width]
        rays = self.unproject(np.stack([u, v], axis=-1))
        rays.setflags(write=False)
        return rays
