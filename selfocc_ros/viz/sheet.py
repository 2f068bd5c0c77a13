# SPDX-License-Identifier: Apache-2.0
"""The picture of a scene: what the cameras saw beside the occupancy that was predicted, and the true one if known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.geometry.voxels import OCCUPIED, OccupancyVolume
from selfocc_ros.viz.birdseye import birds_eye
from selfocc_ros.viz.text import PAPER, class_legend, height_legend, mark_vehicle, scale_bar, text_width, write

Image = NDArray[np.uint8]
_MARGIN = 12
_TITLE = 26


def arrange(rig: CameraRig) -> list[list[int]]:
    """Rows of camera indices as one would look around: those that look ahead from left to right, then those behind.

    The row behind runs from back left over back to back right, so that left stays left.
    """
    yaws = [float(np.arctan2(pose[1, 2], pose[0, 2])) for pose in rig.base_from_camera]  # of the optical axes
    order = sorted(range(len(rig)), key=lambda i: -yaws[i])
    if len(order) <= 3:
        return [order] if order else []
    by_turn = sorted(order, key=lambda i: abs(yaws[i]))
    ahead = set(by_turn[: (len(order) + 1) // 2])
    return [[i for i in order if i in ahead], sorted((i for i in order if i not in ahead), key=lambda i: yaws[i] % 6.3)]


def camera_wall(images: Sequence[Image | None], rig: CameraRig, height: int, columns: int | None = None) -> Image:
    """Camera views with their names, in the rows of `arrange`, on white, together `height` pixels high.

    Args:
        images: (H,W,3) uint8 RGB for each camera of the rig, None for one that failed.
    """
    rows = arrange(rig)
    if not rows:
        return np.full((height, 1, 3), 255, np.uint8)
    cell_height = (height - (len(rows) - 1) * _MARGIN) // len(rows)
    count = columns or max(len(row) for row in rows)
    aspect = float(np.median([camera.width / camera.height for camera in rig.cameras]))
    # A single row of wide pictures would leave most of the sheet to the cameras; the occupancy is what matters.
    cell_width = min(round(cell_height * aspect), round(1.8 * height / count))
    cell_height = min(cell_height, round(cell_width / aspect))
    wall = np.full((height, count * cell_width + (count - 1) * _MARGIN, 3), 255, np.uint8)
    top = (height - len(rows) * cell_height - (len(rows) - 1) * _MARGIN) // 2
    for r, row in enumerate(rows):
        inset = (count - len(row)) * (cell_width + _MARGIN) // 2
        for c, index in enumerate(row):
            cell = _fit(images[index], cell_width, cell_height)
            write(cell, rig.names[index], (8, 20), 0.5, PAPER, halo=(0, 0, 0))
            y, x = top + r * (cell_height + _MARGIN), inset + c * (cell_width + _MARGIN)
            wall[y : y + cell_height, x : x + cell_width] = cell
    return wall


def occupancy_panel(
    volume: OccupancyVolume,
    title: str,
    pixels_per_voxel: int = 3,
    ground_z: float = 0.0,
    fade: NDArray[np.bool_] | None = None,
) -> Image:
    """A bird's eye with title, vehicle and scale; columns (X,Y) of `fade` are pale."""
    picture = birds_eye(volume, pixels_per_voxel, ground_z, fade)
    mark_vehicle(picture, volume.grid, pixels_per_voxel)
    scale_bar(picture, volume.grid, pixels_per_voxel)
    panel = np.full((picture.shape[0] + _TITLE, picture.shape[1], 3), 255, np.uint8)
    panel[_TITLE:] = picture
    write(panel, title, ((panel.shape[1] - text_width(title, 0.6)) // 2, 18), 0.6)
    return panel


def scene_sheet(
    images: Sequence[Image | None], rig: CameraRig, volumes: Mapping[str, OccupancyVolume], caption: str = "",
    pixels_per_voxel: int = 3, ground_z: float = 0.0, fade: NDArray[np.bool_] | None = None,
) -> Image:  # fmt: skip
    """The whole picture: cameras, one bird's eye per named volume, the meaning of the colours, and a caption.

    Args:
        images: (H,W,3) uint8 RGB per camera of the rig, None for one that failed.
        volumes: title -> volume, drawn from left to right.
        caption: one line below.
        pixels_per_voxel: size of the bird's eyes.
        ground_z: height of the road in the volumes' frame.
        fade: (X,Y) columns that are drawn pale in every volume.

    Returns:
        (H,W,3) uint8 RGB.
    """
    panels = [occupancy_panel(volume, title, pixels_per_voxel, ground_z, fade) for title, volume in volumes.items()]
    height = max(panel.shape[0] for panel in panels)
    wall = camera_wall(images, rig, height - _TITLE)
    cameras = np.full((height, wall.shape[1], 3), 255, np.uint8)
    cameras[_TITLE : _TITLE + wall.shape[0]] = wall
    title = f"what {len(rig)} camera{'s' if len(rig) != 1 else ''} saw"
    write(cameras, title, ((cameras.shape[1] - text_width(title, 0.6)) // 2, 18), 0.6)
    parts = [cameras, *(_padded(panel, height) for panel in panels)]
    width = max(sum(part.shape[1] for part in parts) + _MARGIN * (len(parts) + 1), 400)
    legend = _legend(list(volumes.values()), min(width - 2 * _MARGIN, 560))
    beside = text_width(caption) + legend.shape[1] + 3 * _MARGIN <= width
    sheet = np.full((height + (1 if beside else 2) * legend.shape[0] + 3 * _MARGIN, width, 3), 255, np.uint8)
    x = _MARGIN
    for part in parts:
        sheet[_MARGIN : _MARGIN + height, x : x + part.shape[1]] = part
        x += part.shape[1] + _MARGIN
    y = height + 2 * _MARGIN
    sheet[y : y + legend.shape[0], width - _MARGIN - legend.shape[1] : width - _MARGIN] = legend
    write(sheet, caption, (_MARGIN, y + 18 + (0 if beside else legend.shape[0])), 0.5)
    return sheet


def _legend(volumes: Sequence[OccupancyVolume], width: int) -> Image:
    """What colours mean: classes where a volume has any, else heights."""
    shown = {name for volume in volumes for name in _names_in(volume)}
    if not shown:
        return height_legend(width)
    names = sorted(shown)
    return class_legend(names, range(len(names)), width)


def _names_in(volume: OccupancyVolume) -> set[str]:
    """Classes of a volume's occupied voxels."""
    if volume.classes is None:
        return set()
    return {volume.class_names[label] for label in np.unique(volume.classes[volume.state == OCCUPIED])}


def save(path: str, image: Image) -> None:
    """Write an RGB picture to a PNG or JPEG file."""
    if not cv2.imwrite(path, np.ascontiguousarray(image[..., ::-1])):
        raise OSError(f"cannot write the picture {path}")


def _fit(image: Image | None, width: int, height: int) -> Image:
    """The picture scaled to cover the cell exactly, letterboxed in grey; a missing one is grey with a word."""
    cell = np.full((height, width, 3), 60, np.uint8)
    if image is None:
        write(cell, "no picture", ((width - text_width("no picture")) // 2, height // 2), 0.5, PAPER)
        return cell
    scale = min(width / image.shape[1], height / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    y, x = (height - size[1]) // 2, (width - size[0]) // 2
    cell[y : y + size[1], x : x + size[0]] = small
    return cell


def _padded(panel: Image, height: int) -> Image:
    out = np.full((height, panel.shape[1], 3), 255, np.uint8)
    out[: panel.shape[0]] = panel
    return out
