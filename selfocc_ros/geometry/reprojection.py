# SPDX-License-Identifier: Apache-2.0
"""Matrices between pixels of cameras that move, through a frame that does not; and sparse depth from a lidar.

A pixel with its z-depth d is the homogeneous point (u d, v d, d, 1): with that, going from the pixels of one image to
those of another is one 4x4 matrix. Everything is float64 and vectorised over leading dimensions: global coordinates
of a drive run to kilometres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfocc_ros.geometry.poses import invert

FloatArray = NDArray[np.float64]


def pixel_from_camera(matrix: ArrayLike) -> FloatArray:
    """Matrices (...,4,4) to pixels from the optical frame, of camera matrices K (...,3,3)."""
    k = np.asarray(matrix, dtype=np.float64)
    out = np.zeros((*k.shape[:-2], 4, 4))
    out[..., :3, :3] = k
    out[..., 3, 3] = 1.0
    return out


def global_from_pixel(global_from_ego: ArrayLike, ego_from_camera: ArrayLike, matrix: ArrayLike) -> FloatArray:
    """Matrices (...,4,4) from the pixels of images.

    Args:
        global_from_ego: (...,4,4) pose of the vehicle when the image was taken.
        ego_from_camera: (...,4,4) pose of the optical frame on the vehicle.
        matrix: (...,3,3) camera matrix K.
    """
    global_from_camera = np.asarray(global_from_ego, np.float64) @ np.asarray(ego_from_camera, np.float64)
    return np.asarray(global_from_camera @ np.linalg.inv(pixel_from_camera(matrix)))


def pixel_from_box(global_from_pixel: ArrayLike, global_from_box: ArrayLike) -> FloatArray:
    """Matrices (...,4,4) that project points of the box.

    Args:
        global_from_pixel: (...,4,4) of the images, each at its own time.
        global_from_box: (4,4) pose of the frame of the box at its time: the vehicle's, or its lidar's.
    """
    pixel_from_global = np.linalg.inv(np.asarray(global_from_pixel, np.float64))
    return np.asarray(pixel_from_global @ np.asarray(global_from_box, np.float64))


def box_from_pixel(global_from_pixel: ArrayLike, global_from_box: ArrayLike) -> FloatArray:
    """Matrices (...,4,4) that lift pixels into the box; arguments as in `pixel_from_box`.

    The images may be those of another moment than the box: they are then looked at from where their cameras were.
    """
    return np.asarray(invert(global_from_box) @ np.asarray(global_from_pixel, np.float64))


def source_pixel_from_pixel(source_global_from_pixel: ArrayLike, global_from_pixel: ArrayLike) -> FloatArray:
    """Matrices (...,4,4) from pixels of images to those of source images, by what both see standing still."""
    source_pixel_from_global = np.linalg.inv(np.asarray(source_global_from_pixel, np.float64))
    return np.asarray(source_pixel_from_global @ np.asarray(global_from_pixel, np.float64))


def sparse_depth(
    points: ArrayLike,
    pixel_from_box: ArrayLike,
    image_size: tuple[int, int],
    nearest: float = 1.0,
    farthest: float = 80.0,
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Depth at the places where a lidar's points fall into images.

    Args:
        points: (P,3) in the frame of the box, metres.
        pixel_from_box: (N,4,4).
        image_size: (width, height) in pixels.
        nearest, farthest: bounds of the depths that count, in metres, themselves left out.

    Returns:
        Places (N,P,2) as a share of the image's width and height, z-depths (N,P) in metres, and which of them lie
        inside the image and between the bounds (N,P). The others hold whatever the projection gave.
    """
    p, m = np.asarray(points, dtype=np.float64), np.asarray(pixel_from_box, dtype=np.float64)
    projected = np.einsum("nij,pj->npi", m[:, :3, :3], p) + m[:, None, :3, 3]
    depth = projected[..., 2]
    place = projected[..., :2] / np.maximum(depth, 1e-5)[..., None] / np.array(image_size, dtype=np.float64)
    inside = ((place > 0.0) & (place < 1.0)).all(axis=-1)
    return place, depth, inside & (depth > nearest) & (depth < farthest)
