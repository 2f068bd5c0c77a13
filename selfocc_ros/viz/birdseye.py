# SPDX-License-Identifier: Apache-2.0
"""An occupancy volume from above: x forward points up in the picture, y left to the left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import FREE, OCCUPIED, OccupancyVolume, VoxelGrid
from selfocc_ros.viz.colours import class_colours, height_colours

FREE_COLOUR = (244, 244, 244)
UNKNOWN_COLOUR = (150, 150, 150)
_PALE = 0.75
_RELIEF = 0.35  # how much darker a column is at most where its neighbour to the north-west is higher


def column_tops(occupied: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(X,Y) index in z of the highest occupied voxel of each column of (X,Y,Z), -1 where there is none."""
    depth = occupied.shape[2]
    highest = depth - 1 - np.argmax(occupied[:, :, ::-1], axis=2)
    return np.where(occupied.any(axis=2), highest, -1).astype(np.int64)


def birds_eye(
    volume: OccupancyVolume, pixels_per_voxel: int = 3, ground_z: float = 0.0, fade: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """The volume from above, each column coloured by its highest occupied voxel's height above `ground_z`.

    A volume with classes shows that voxel's class instead.
    Columns without an occupied voxel are nearly white where at least one voxel is known to be free, and grey where
    nothing is known. A light from the upper left darkens the lee of whatever stands higher than its neighbour.

    Args:
        volume: what to draw.
        pixels_per_voxel: size of the picture.
        ground_z: height of the road in the volume's frame.
        fade: (X,Y) columns that are drawn pale, because nothing can be said of them.

    Returns:
        (X * pixels_per_voxel, Y * pixels_per_voxel, 3) uint8 RGB; the top row is the largest x, the left column the
        largest y.
    """
    tops = column_tops(volume.state == OCCUPIED)
    grid = volume.grid
    image = np.empty((*tops.shape, 3), np.uint8)
    image[:] = UNKNOWN_COLOUR
    image[(volume.state == FREE).any(axis=2)] = FREE_COLOUR
    solid = tops >= 0
    if volume.classes is None:
        colours = height_colours(grid.lower[2] + (tops[solid] + 0.5) * grid.cell[2] - ground_z)
    else:
        colours = class_colours(volume.classes[(*np.nonzero(solid), tops[solid])], volume.class_names)
    image[solid] = colours * _relief(tops)[solid][:, None]
    if fade is not None:
        image[fade] = np.rint(_PALE * np.array(UNKNOWN_COLOUR) + (1 - _PALE) * image[fade]).astype(np.uint8)
    upright = image[::-1, ::-1]
    return np.ascontiguousarray(upright.repeat(pixels_per_voxel, axis=0).repeat(pixels_per_voxel, axis=1))


def pixel_of(grid: VoxelGrid, x: float, y: float, pixels_per_voxel: int = 3) -> tuple[float, float]:
    """(column, row) in the picture of `birds_eye` of a point in the grid's frame."""
    column = (grid.upper[1] - y) / grid.cell[1] * pixels_per_voxel - 0.5
    row = (grid.upper[0] - x) / grid.cell[0] * pixels_per_voxel - 0.5
    return float(column), float(row)


def _relief(tops: NDArray[np.int64]) -> NDArray[np.float64]:
    """(X,Y) brightness in 1 - _RELIEF .. 1: darker where the column ahead or to the left is higher."""
    padded = np.pad(tops, ((0, 1), (0, 1)), mode="edge")
    step = np.maximum(padded[1:, :-1], padded[:-1, 1:]) - tops
    return 1.0 - _RELIEF * np.clip(step / 3.0, 0.0, 1.0)
