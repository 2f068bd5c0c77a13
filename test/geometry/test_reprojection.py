# SPDX-License-Identifier: Apache-2.0
"""Matrices between the pixels of moving cameras, held to projecting points one by one."""

from __future__ import annotations

import numpy as np

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import apply, body_from_optical, invert, pose_from_rpy
from selfocc_ros.geometry.reprojection import (
    box_from_pixel,
    global_from_pixel,
    pixel_from_box,
    source_pixel_from_pixel,
    sparse_depth,
)

CAMERA = CameraModel(200, 100, np.array([[120.0, 0.0, 99.5], [0.0, 110.0, 49.5], [0.0, 0.0, 1.0]]))
EGO_FROM_CAMERA = pose_from_rpy((1.5, 0.2, 1.6), 0.0, 0.05, 0.3) @ body_from_optical()
# A drive far from the origin of its map; the second image is taken further on than the box.
GLOBAL_FROM_EGO = pose_from_rpy((1800.0, 700.0, 12.0), 0.01, 0.02, 2.0)
GLOBAL_FROM_EGO_LATER = GLOBAL_FROM_EGO @ pose_from_rpy((2.0, 0.1, 0.0), 0.0, 0.0, 0.1)
POINTS = np.array([[9.0, 2.0, 1.0], [12.0, 4.5, 0.3], [6.0, 1.0, 2.5]])


def pixels_of(points: np.ndarray, global_from_ego: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and z-depths of points in the frame of the vehicle at GLOBAL_FROM_EGO, step by step."""
    local = apply(invert(global_from_ego @ EGO_FROM_CAMERA) @ GLOBAL_FROM_EGO, points)
    return CAMERA.project(local)[0], local[:, 2]


def image(global_from_ego: np.ndarray) -> np.ndarray:
    return global_from_pixel(global_from_ego, EGO_FROM_CAMERA, CAMERA.matrix)


def homogeneous(pixels: np.ndarray, depths: np.ndarray) -> np.ndarray:
    return np.column_stack([pixels * depths[:, None], depths, np.ones(len(depths))])


def test_projection_and_lifting_are_those_of_the_camera_where_it_was() -> None:
    for ego in (GLOBAL_FROM_EGO, GLOBAL_FROM_EGO_LATER):
        pixels, depths = pixels_of(POINTS, ego)
        projected = POINTS @ pixel_from_box(image(ego), GLOBAL_FROM_EGO)[:3, :3].T
        projected += pixel_from_box(image(ego), GLOBAL_FROM_EGO)[:3, 3]
        assert np.allclose(projected, homogeneous(pixels, depths)[:, :3], atol=1e-7)
        lifted = homogeneous(pixels, depths) @ box_from_pixel(image(ego), GLOBAL_FROM_EGO).T
        assert np.allclose(lifted[:, :3], POINTS, atol=1e-7)


def test_a_pixel_moves_to_where_the_source_sees_the_same_point() -> None:
    pixels, depths = pixels_of(POINTS, GLOBAL_FROM_EGO)
    there, there_depths = pixels_of(POINTS, GLOBAL_FROM_EGO_LATER)
    moved = (
        homogeneous(pixels, depths) @ source_pixel_from_pixel(image(GLOBAL_FROM_EGO_LATER), image(GLOBAL_FROM_EGO)).T
    )
    assert np.allclose(moved, homogeneous(there, there_depths), atol=1e-7)


def test_many_images_at_once_are_each_by_itself() -> None:
    both = np.stack([GLOBAL_FROM_EGO, GLOBAL_FROM_EGO_LATER])
    stacked = pixel_from_box(image(both), GLOBAL_FROM_EGO)
    assert stacked.shape == (2, 4, 4)
    assert np.allclose(stacked[1], pixel_from_box(image(GLOBAL_FROM_EGO_LATER), GLOBAL_FROM_EGO))


def test_sparse_depth_counts_what_is_inside_image_and_bounds() -> None:
    matrix = pixel_from_box(image(GLOBAL_FROM_EGO), GLOBAL_FROM_EGO)
    pixels, depths = pixels_of(POINTS, GLOBAL_FROM_EGO)
    behind, aside = [[-20.0, 0.0, 1.0]], [[5.0, 30.0, 1.0]]
    place, found, valid = sparse_depth(np.concatenate([POINTS, behind, aside]), matrix[None], (200, 100))
    assert valid[0].tolist() == [True, True, True, False, False]
    assert np.allclose(found[0, :3], depths)
    assert np.allclose(place[0, :3] * [200, 100], pixels)
    _, _, far = sparse_depth(POINTS, matrix[None], (200, 100), farthest=float(depths.max()) - 0.1)
    assert far.sum() == 2
