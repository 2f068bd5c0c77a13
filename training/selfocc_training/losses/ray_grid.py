# SPDX-License-Identifier: Apache-2.0
"""The regular grid of rays on which pictures are compared."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from selfocc_ros.model.planes.rays import pixel_grid


@dataclass(frozen=True)
class RayGrid:
    """Regular grid of rays, the same for all views.

    Attributes:
        pixels: (R, 2) u, v.
        height, width: rows and columns of the grid, R = height * width.
    """

    pixels: Tensor
    height: int
    width: int


def ray_grid(image: tuple[int, int], height: int, width: int, uniform: Tensor) -> RayGrid:
    """Grid with random stride and offset (SelfOcc's "cellular" sampler).

    Args:
        image: (height, width) in pixels of the area to sample.
        uniform: (4,) values in 0..1: stride x, stride y, offset x, offset y.
    """
    return RayGrid(pixel_grid(image, height, width, uniform), height, width)
