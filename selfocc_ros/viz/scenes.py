# SPDX-License-Identifier: Apache-2.0
"""Volumes to draw, from points and from truth."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import FREE, OCC3D_CLASSES, OCCUPIED, UNKNOWN, OccupancyVolume, VoxelGrid
from selfocc_ros.sensing.decode import decode
from selfocc_ros.sensing.frames import DecodeError, RigSample

_FREE_CLASS = 17


class Truth(Protocol):
    """What is drawn of a true volume (selfocc_ros.town.truth.TruthVolume)."""

    @property
    def grid(self) -> VoxelGrid:
        """Where the voxels are."""

    @property
    def classes(self) -> NDArray[np.uint8]:
        """(X,Y,Z) Occ3D classes, 17 is free."""

    @property
    def camera_mask(self) -> NDArray[np.bool_]:
        """(X,Y,Z) what the cameras see."""


def truth_as_volume(truth: Truth, with_classes: bool = False) -> OccupancyVolume:
    """The truth as a prediction could know it: unknown where no camera sees."""
    state = np.where(truth.classes != _FREE_CLASS, OCCUPIED, FREE).astype(np.uint8)
    state[~truth.camera_mask] = UNKNOWN
    if not with_classes:
        return OccupancyVolume(truth.grid, state)
    classes = np.where(state == OCCUPIED, truth.classes, np.uint8(0))
    return OccupancyVolume(truth.grid, state, None, classes, OCC3D_CLASSES)


def volume_of_points(grid: VoxelGrid, points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(X,Y,Z) bool: the voxels that hold one of the points (M,3); points outside the grid are left out."""
    index, inside = grid.index_of(points)
    occupied = np.zeros(grid.shape, np.bool_)
    occupied[tuple(index[inside].T)] = True
    return occupied


def camera_images(sample: RigSample) -> list[NDArray[np.uint8] | None]:
    """The pictures (H,W,3) uint8 RGB of a sample's cameras in the order of its rig; None for one that is damaged."""
    images: list[NDArray[np.uint8] | None] = []
    for frame in sample.frames:
        try:
            images.append(decode(frame))
        except DecodeError:  # the prediction tells why; the sheet shows a gap
            images.append(None)
    return images
