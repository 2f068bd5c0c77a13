# SPDX-License-Identifier: Apache-2.0
"""Colours for heights, depths and classes.

Heights and depths use the Turbo map (A. Mikhailov, "Turbo, an improved rainbow colormap for visualization", 2019),
whose hue changes evenly over its whole length, so that a kerb differs from the road and a roof from a wall. Its two
nearly black ends are left out.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfocc_ros.geometry.voxels import OccupancyVolume, VoxelIndex

CLASS_COLOURS = {
    "others": (90, 90, 90),
    "barrier": (255, 120, 50),
    "bicycle": (255, 130, 190),
    "bus": (255, 215, 0),
    "car": (30, 120, 255),
    "construction_vehicle": (0, 220, 220),
    "motorcycle": (190, 120, 0),
    "pedestrian": (255, 0, 0),
    "traffic_cone": (255, 190, 120),
    "trailer": (130, 60, 20),
    "truck": (150, 40, 220),
    "driveable_surface": (130, 100, 140),
    "other_flat": (140, 130, 130),
    "sidewalk": (85, 45, 90),
    "terrain": (150, 215, 80),
    "manmade": (215, 210, 200),
    "vegetation": (0, 140, 40),
}
"""Red, green, blue of Occ3D's classes: what moves is vivid, what stands is pale."""

HEIGHT_RANGE = (-1.0, 5.4)
"""Metres from the darkest blue to the darkest red: the height of Occ3D's grid."""

DEPTH_RANGE = (2.0, 60.0)
"""Metres from red (near) to blue (far) in pictures of depth."""


@cache
def _turbo() -> NDArray[np.uint8]:
    """(256,3) uint8 RGB, the map without its ends."""
    positions = np.linspace(16, 242, 256).round().astype(np.uint8).reshape(-1, 1)
    return np.ascontiguousarray(cv2.applyColorMap(positions, cv2.COLORMAP_TURBO)[:, 0, ::-1]).astype(np.uint8)


def height_colours(z: ArrayLike, lower: float = HEIGHT_RANGE[0], upper: float = HEIGHT_RANGE[1]) -> NDArray[np.uint8]:
    """Colours of heights: blue is low, green and yellow between, red is high.

    Args:
        z: (M) heights above the ground in metres. Those outside `lower` .. `upper` take the colour of the nearer end.

    Returns:
        (M,3) uint8 RGB.
    """
    share = (np.asarray(z, np.float64).reshape(-1) - lower) / (upper - lower)
    return _turbo()[np.rint(np.clip(np.nan_to_num(share), 0, 1) * 255).astype(np.int64)]


def depth_colours(depth: ArrayLike, near: float = DEPTH_RANGE[0], far: float = DEPTH_RANGE[1]) -> NDArray[np.uint8]:
    """Colours of depths by their inverse: near is red, far is blue; what is no finite positive number is black.

    Args:
        depth: (...) metres.

    Returns:
        (...,3) uint8 RGB.
    """
    metres = np.asarray(depth, np.float64)
    known = np.isfinite(metres) & (metres > 0)
    inverse = 1.0 / np.clip(np.where(known, metres, far), near, far)
    share = (inverse - 1.0 / far) / (1.0 / near - 1.0 / far)
    # The square root spreads the far half, which inverse depth squeezes into a few colours.
    image: NDArray[np.uint8] = _turbo()[np.rint(np.sqrt(share) * 255).astype(np.int64)]
    image[~known] = 0
    return image


def class_colours(labels: ArrayLike, names: Sequence[str]) -> NDArray[np.uint8]:
    """Colours of labels: those of CLASS_COLOURS, and for any other name a hue of its own, the same everywhere.

    Args:
        labels: (M) indices of ``names``.

    Returns:
        (M,3) uint8 RGB.
    """
    turbo = _turbo()
    palette = [CLASS_COLOURS.get(name, turbo[zlib.crc32(name.encode()) % len(turbo)]) for name in names]
    return np.asarray(palette, np.uint8).reshape(-1, 3)[np.asarray(labels, np.int64).reshape(-1)]


def volume_palette(
    volume: OccupancyVolume, index: VoxelIndex, ground_z: float = 0.0
) -> tuple[NDArray[np.uint8], NDArray[np.integer[Any]]]:
    """Colours (K,3) uint8 RGB for the voxels of a volume, and which of them (M) each voxel of `index` has.

    They are those of the classes, else those of the heights above the ground.

    Args:
        ground_z: height of the ground in the frame of the grid, metres.
    """
    if volume.classes is not None:
        return class_colours(np.arange(len(volume.class_names)), volume.class_names), volume.classes[index]
    return height_colours(volume.grid.line(2) - ground_z), index[2]
