# SPDX-License-Identifier: Apache-2.0
"""Words, bars and marks on pictures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.viz.birdseye import pixel_of
from selfocc_ros.viz.colours import HEIGHT_RANGE, class_colours, height_colours

Image = NDArray[np.uint8]
INK = (35, 35, 35)
PAPER = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def write(
    image: Image, text: str, at: tuple[int, int], size: float = 0.5, colour: tuple[int, int, int] = INK,
    halo: tuple[int, int, int] | None = None, bold: bool = False,
) -> None:  # fmt: skip
    """Write a line of text in place; `at` is the left end of its baseline. A halo keeps it readable on a photograph."""
    thickness = 2 if bold else 1
    if halo is not None:
        cv2.putText(image, text, at, _FONT, size, halo, thickness + 2, cv2.LINE_AA)
    cv2.putText(image, text, at, _FONT, size, colour, thickness, cv2.LINE_AA)


def text_width(text: str, size: float = 0.5, bold: bool = False) -> int:
    """Pixels that `write` needs."""
    (width, _), _ = cv2.getTextSize(text, _FONT, size, 2 if bold else 1)
    return int(width)


def mark_vehicle(image: Image, grid: VoxelGrid, pixels_per_voxel: int, length: float = 4.4, width: float = 1.9) -> None:
    """Draw base_link as an arrow head of a car's size, pointing forward (up)."""
    outline = [(length / 2, 0.0), (-length / 2, width / 2), (-length / 2 + 0.9, 0.0), (-length / 2, -width / 2)]
    points = np.array([pixel_of(grid, x, y, pixels_per_voxel) for x, y in outline])
    corners = np.rint(points).astype(np.int32).reshape(-1, 1, 2)
    cv2.fillPoly(image, [corners], INK, cv2.LINE_AA)
    cv2.polylines(image, [corners], True, PAPER, 1, cv2.LINE_AA)


def scale_bar(image: Image, grid: VoxelGrid, pixels_per_voxel: int, metres: float = 10.0) -> None:
    """Draw a bar of the given length in the lower left corner."""
    length = round(metres / grid.cell[1] * pixels_per_voxel)
    height = image.shape[0]
    x, y = 12, height - 14
    label = f"{metres:g} m"
    cv2.rectangle(image, (x - 6, y - 22), (x + length + 6, y + 8), PAPER, -1)
    cv2.line(image, (x, y), (x + length, y), INK, 2, cv2.LINE_AA)
    for end in (x, x + length):
        cv2.line(image, (end, y - 5), (end, y + 5), INK, 2, cv2.LINE_AA)
    write(image, label, (x + (length - text_width(label, 0.42)) // 2, y - 7), 0.42)


def height_legend(width: int, height: int = 34) -> Image:
    """A strip (height, width, 3) that shows which colour means which height."""
    strip = np.full((height, width, 3), 255, np.uint8)
    lower, upper = HEIGHT_RANGE
    left, right = 150, width - 12
    bar = height_colours(np.linspace(lower, upper, right - left))
    strip[4:16, left:right] = bar[None]
    write(strip, "height above ground", (2, 15), 0.42)
    for metres in range(int(np.ceil(lower)), int(upper) + 1):
        x = left + round((metres - lower) / (upper - lower) * (right - left - 1))
        cv2.line(strip, (x, 16), (x, 19), INK, 1)
        label = f"{metres} m"
        write(strip, label, (min(x - text_width(label, 0.36) // 2, width - text_width(label, 0.36)), 30), 0.36)
    return strip


def class_legend(names: Sequence[str], shown: Sequence[int], width: int, line: int = 18) -> Image:
    """Lines (H, width, 3) that show which colour means which class.

    Args:
        names: of all labels.
        shown: labels to name.
    """
    places: list[tuple[int, int]] = []
    x, y = 2, 0
    for label in shown:
        needed = 16 + text_width(names[label], 0.4) + 12
        if x + needed > width and x > 2:
            x, y = 2, y + line
        places.append((x, y))
        x += needed
    legend = np.full((y + line, width, 3), 255, np.uint8)
    for label, (x, y), colour in zip(shown, places, class_colours(shown, names), strict=True):
        legend[y + 3 : y + 15, x : x + 12] = colour
        write(legend, names[label], (x + 16, y + 13), 0.4)
    return legend
