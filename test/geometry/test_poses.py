# SPDX-License-Identifier: Apache-2.0
"""Poses: inverse, composition, conversions and interpolation, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation, Slerp

from selfocc_ros.geometry.poses import (
    BODY_FROM_OPTICAL,
    PoseError,
    apply,
    body_from_optical,
    check_pose,
    interpolate,
    invert,
    matrix_to_quaternion,
    pose,
    pose_from_rpy,
    quaternion_to_matrix,
)

quaternions = arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.01)
vectors = arrays(np.float64, 3, elements=st.floats(-1000, 1000))
poses = st.builds(pose, vectors, quaternions)
angles = st.floats(-3.2, 3.2)


@given(quaternions)
def test_quaternion_to_matrix_is_scipys(q: np.ndarray) -> None:
    np.testing.assert_allclose(quaternion_to_matrix(q), Rotation.from_quat(q).as_matrix(), atol=1e-14)


@given(quaternions)
def test_matrix_to_quaternion_returns_the_unit_quaternion_with_positive_w(q: np.ndarray) -> None:
    back = matrix_to_quaternion(quaternion_to_matrix(q))
    unit = q / np.linalg.norm(q)
    assert back[3] >= 0.0
    assert min(np.abs(back - unit).max(), np.abs(back + unit).max()) < 1e-14


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_survive_the_way_to_a_quaternion_and_back(axis: int) -> None:
    matrix = -np.eye(3)
    matrix[axis, axis] = 1.0
    np.testing.assert_array_equal(quaternion_to_matrix(matrix_to_quaternion(matrix)), matrix)


def test_conversions_take_any_leading_dimensions() -> None:
    q = np.random.default_rng(0).normal(size=(2, 5, 4))
    matrices = quaternion_to_matrix(q)
    assert matrices.shape == (2, 5, 3, 3)
    assert matrix_to_quaternion(matrices).shape == (2, 5, 4)
    for index in np.ndindex(2, 5):
        np.testing.assert_array_equal(matrices[index], quaternion_to_matrix(q[index]))
        np.testing.assert_array_equal(matrix_to_quaternion(matrices)[index], matrix_to_quaternion(matrices[index]))


@given(poses)
def test_inverse_undoes(t: np.ndarray) -> None:
    np.testing.assert_allclose(invert(t) @ t, np.eye(4), atol=1e-11)
    np.testing.assert_allclose(invert(invert(t)), t, atol=1e-11)


@given(poses, poses, poses)
def test_composition_is_associative_and_its_inverse_turns_round(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    np.testing.assert_allclose((a @ b) @ c, a @ (b @ c), atol=1e-9)
    np.testing.assert_allclose(invert(a @ b), invert(b) @ invert(a), atol=1e-9)


@given(poses, poses, arrays(np.float64, (4, 3), elements=st.floats(-100, 100)))
def test_apply_composes_and_inverts(a: np.ndarray, b: np.ndarray, points: np.ndarray) -> None:
    np.testing.assert_allclose(apply(a, apply(b, points)), apply(a @ b, points), atol=1e-9)
    np.testing.assert_allclose(apply(invert(a), apply(a, points)), points, atol=1e-9)


def test_apply_broadcasts_transforms_against_points() -> None:
    rng = np.random.default_rng(1)
    transforms = pose(rng.normal(size=(3, 3)), rng.normal(size=(3, 4)))
    points = rng.normal(size=(3, 7, 3))
    moved = apply(transforms[:, None], points)
    for i in range(3):
        np.testing.assert_allclose(moved[i], apply(transforms[i], points[i]), atol=1e-14)
    np.testing.assert_allclose(apply(transforms, points[:, 0]), moved[:, 0], atol=1e-14)


@given(angles, angles, angles)
def test_roll_pitch_yaw_are_about_fixed_axes(roll: float, pitch: float, yaw: float) -> None:
    found = pose_from_rpy((1.0, 2.0, 3.0), roll, pitch, yaw)
    np.testing.assert_allclose(found[:3, :3], Rotation.from_euler("xyz", [roll, pitch, yaw]).as_matrix(), atol=1e-14)
    np.testing.assert_array_equal(found[:, 3], (1.0, 2.0, 3.0, 1.0))


def test_optical_axes_are_those_of_rep_103() -> None:
    right, down, forward = np.eye(3)
    np.testing.assert_array_equal(BODY_FROM_OPTICAL @ forward, (1, 0, 0))
    np.testing.assert_array_equal(BODY_FROM_OPTICAL @ right, (0, -1, 0))
    np.testing.assert_array_equal(BODY_FROM_OPTICAL @ down, (0, 0, -1))
    # The quaternion that every ROS driver publishes for an optical frame.
    np.testing.assert_allclose(body_from_optical(), pose((0, 0, 0), (-0.5, 0.5, -0.5, 0.5)), atol=1e-15)


@given(poses, poses, st.floats(0, 1))
def test_interpolation_is_scipys_slerp_and_a_straight_line(a: np.ndarray, b: np.ndarray, alpha: float) -> None:
    between = interpolate(a, b, alpha)
    keys = Rotation.from_matrix(np.stack([a[:3, :3], b[:3, :3]]))
    if (keys[0].inv() * keys[1]).magnitude() < np.pi - 1e-6:  # half a turn has two shortest ways
        np.testing.assert_allclose(between[:3, :3], Slerp([0, 1], keys)(alpha).as_matrix(), atol=1e-9)
    np.testing.assert_allclose(between[:3, 3], a[:3, 3] + alpha * (b[:3, 3] - a[:3, 3]), atol=1e-9)
    check_pose(between, "the pose between")


@given(poses, poses)
def test_interpolation_ends_where_it_should(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(interpolate(a, b, 0.0), a, atol=1e-12)
    np.testing.assert_allclose(interpolate(a, b, 1.0), b, atol=1e-12)


@pytest.mark.parametrize("angle", [1e-3, 1e-6, 1e-9, 1e-12])
def test_interpolation_of_tiny_rotations_keeps_its_digits(angle: float) -> None:
    middle = interpolate(np.eye(4), pose_from_rpy((0, 0, 0), 0, 0, angle), 0.25)
    assert middle[1, 0] == pytest.approx(np.sin(0.25 * angle), rel=1e-6)


def test_interpolation_takes_many_alphas_at_once() -> None:
    a, b = pose_from_rpy((0, 0, 0), 0.1, 0.2, 0.3), pose_from_rpy((4, 2, 0), 0.3, -0.2, 1.3)
    alphas = np.linspace(0, 1, 5)
    many = interpolate(a, b, alphas)
    for alpha, one in zip(alphas, many, strict=True):
        np.testing.assert_allclose(one, interpolate(a, b, alpha), atol=1e-15)


@pytest.mark.fault
@pytest.mark.parametrize("q", [(0, 0, 0, 0), (np.nan, 0, 0, 1), (np.inf, 0, 0, 1), (0, 0, 1)])
def test_what_is_no_quaternion_is_refused(q: tuple[float, ...]) -> None:
    with pytest.raises(PoseError, match="quaternion"):
        quaternion_to_matrix(q)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("matrix", "sentence"),
    [
        (np.eye(3), "must be a 4x4 matrix"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.diag([2.0, 1, 1, 1]), "no rigid transform"),
        (np.diag([-1.0, 1, 1, 1]), "no rigid transform"),
        (np.ones((4, 4)), "no rigid transform"),
    ],
)
def test_what_is_no_pose_is_refused(matrix: np.ndarray, sentence: str) -> None:
    with pytest.raises(PoseError, match=f"^the mount .*{sentence}"):
        check_pose(matrix, "the mount")
