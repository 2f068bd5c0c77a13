# SPDX-License-Identifier: Apache-2.0
"""Rigid poses: 4x4 float64 matrices named for what they do (`base_from_camera`), quaternions as x, y, z, w.

Everything is vectorised over leading dimensions and float64. Quaternion order and the meaning of roll, pitch and
yaw are those of ROS (geometry_msgs/Quaternion, REP-103).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfocc_ros.errors import SelfOccError

FloatArray = NDArray[np.float64]

BODY_FROM_OPTICAL: FloatArray = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Rotation (3,3) that takes optical axes (x right, y down, z forward) to body axes (x forward, y left, z up)."""
BODY_FROM_OPTICAL.setflags(write=False)


class PoseError(SelfOccError, ValueError):
    """Numbers that are no pose: a quaternion of length zero, a matrix that is no rotation, NaN."""


def quaternion_to_matrix(quaternion_xyzw: ArrayLike) -> FloatArray:
    """Rotation matrices (...,3,3) of quaternions (...,4) in the order x, y, z, w; any length but zero.

    Raises:
        PoseError: a quaternion has length zero or is not finite.
    """
    q = np.asarray(quaternion_xyzw, dtype=np.float64)
    if q.shape[-1:] != (4,):
        raise PoseError(f"a quaternion has 4 numbers (x, y, z, w), not an array of shape {q.shape}")
    norm = np.linalg.norm(q, axis=-1, keepdims=True)
    if not np.all(np.isfinite(norm)) or np.any(norm < 1e-12):
        raise PoseError(f"a quaternion must be finite and not of length zero, found {q.tolist()}")
    x, y, z, w = np.moveaxis(q / norm, -1, 0)
    matrix = np.empty((*q.shape[:-1], 3, 3))
    matrix[..., 0, 0] = 1.0 - 2.0 * (y * y + z * z)
    matrix[..., 0, 1] = 2.0 * (x * y - z * w)
    matrix[..., 0, 2] = 2.0 * (x * z + y * w)
    matrix[..., 1, 0] = 2.0 * (x * y + z * w)
    matrix[..., 1, 1] = 1.0 - 2.0 * (x * x + z * z)
    matrix[..., 1, 2] = 2.0 * (y * z - x * w)
    matrix[..., 2, 0] = 2.0 * (x * z - y * w)
    matrix[..., 2, 1] = 2.0 * (y * z + x * w)
    matrix[..., 2, 2] = 1.0 - 2.0 * (x * x + y * y)
    return matrix


def matrix_to_quaternion(rotation: ArrayLike) -> FloatArray:
    """Unit quaternions (...,4) x, y, z, w of rotations (...,3,3), with w >= 0.

    Shepperd's method (1978): of the four ways to divide, the one with the largest divisor, so that it is exact to
    rounding for half turns too.
    """
    m = np.asarray(rotation, dtype=np.float64)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Row k is the quaternion times four times its component k.
    products = np.empty((*m.shape[:-2], 4, 4))
    products[..., 0, 0] = 1.0 + xx - yy - zz
    products[..., 1, 1] = 1.0 - xx + yy - zz
    products[..., 2, 2] = 1.0 - xx - yy + zz
    products[..., 3, 3] = 1.0 + xx + yy + zz
    products[..., 0, 1] = products[..., 1, 0] = m[..., 1, 0] + m[..., 0, 1]
    products[..., 0, 2] = products[..., 2, 0] = m[..., 0, 2] + m[..., 2, 0]
    products[..., 1, 2] = products[..., 2, 1] = m[..., 2, 1] + m[..., 1, 2]
    products[..., 0, 3] = products[..., 3, 0] = m[..., 2, 1] - m[..., 1, 2]
    products[..., 1, 3] = products[..., 3, 1] = m[..., 0, 2] - m[..., 2, 0]
    products[..., 2, 3] = products[..., 3, 2] = m[..., 1, 0] - m[..., 0, 1]
    largest = np.argmax(np.diagonal(products, axis1=-2, axis2=-1), axis=-1)
    q = np.take_along_axis(products, largest[..., None, None], axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return np.asarray(np.where(q[..., 3:] < 0.0, -q, q))


def pose(translation: ArrayLike, quaternion_xyzw: ArrayLike) -> FloatArray:
    """Poses (...,4,4) from translations (...,3) in metres and quaternions (...,4)."""
    rotation = quaternion_to_matrix(quaternion_xyzw)
    return _assemble(rotation, np.asarray(translation, dtype=np.float64))


def pose_from_rpy(translation: ArrayLike, roll: float, pitch: float, yaw: float) -> FloatArray:
    """One pose (4,4) from a translation (3,) in metres and angles in radians about the fixed axes x, y, z in turn.

    R = Rz(yaw) Ry(pitch) Rx(roll): the order of URDF, tf2 and static_transform_publisher.
    """
    cr, sr, cp, sp, cy, sy = np.cos(roll), np.sin(roll), np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw)
    rotation = np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )
    return _assemble(rotation, np.asarray(translation, dtype=np.float64))


def body_from_optical() -> FloatArray:
    """The pose (4,4) of an optical frame in the body frame at the same origin (see BODY_FROM_OPTICAL)."""
    return _assemble(BODY_FROM_OPTICAL, np.zeros(3))


def invert(transform: ArrayLike) -> FloatArray:
    """Inverses (...,4,4) of rigid transforms (...,4,4)."""
    t = np.asarray(transform, dtype=np.float64)
    rotation = np.swapaxes(t[..., :3, :3], -1, -2)
    return _assemble(rotation, -(rotation @ t[..., :3, 3:])[..., 0])


def interpolate(start: ArrayLike, end: ArrayLike, alpha: ArrayLike) -> FloatArray:
    """Poses (...,4,4) between `start` and `end` (...,4,4): alpha 0 gives start, 1 gives end.

    Rotations by slerp along the shorter arc (Shoemake 1985), translations linearly: what tf2 does.
    """
    t0, t1 = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    a = np.asarray(alpha, dtype=np.float64)[..., None]
    q0, q1 = matrix_to_quaternion(t0[..., :3, :3]), matrix_to_quaternion(t1[..., :3, :3])
    q1 = np.where(np.sum(q0 * q1, axis=-1, keepdims=True) < 0.0, -q1, q1)
    # Half the angle from chord lengths: exact for small angles, where arccos of the dot product loses half the digits.
    difference = np.linalg.norm(q1 - q0, axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(difference, np.linalg.norm(q1 + q0, axis=-1, keepdims=True))
    sine = np.sin(angle)
    small = sine < 1e-9
    safe = np.where(small, 1.0, sine)
    w0 = np.where(small, 1.0 - a, np.sin((1.0 - a) * angle) / safe)
    w1 = np.where(small, a, np.sin(a * angle) / safe)
    translation = (1.0 - a) * t0[..., :3, 3] + a * t1[..., :3, 3]
    return pose(translation, w0 * q0 + w1 * q1)


def apply(transform: ArrayLike, points: ArrayLike) -> FloatArray:
    """Transformed points (...,3): transforms (...,4,4) and points (...,3) broadcast against each other.

    One transform with many points is `apply(T, points)`; a transform per row is `apply(T[:, None], points_NM3)`.
    """
    t, p = np.asarray(transform, dtype=np.float64), np.asarray(points, dtype=np.float64)
    if t.ndim == 2:
        return np.asarray(p @ t[:3, :3].T + t[:3, 3])
    return np.asarray(np.einsum("...ij,...j->...i", t[..., :3, :3], p) + t[..., :3, 3])


def check_pose(transform: ArrayLike, what: str) -> FloatArray:
    """`transform` as (4,4) float64 if it is a rigid transform to within 1e-3.

    Raises:
        PoseError: wrong shape, NaN, last row not 0 0 0 1, or a 3x3 part that is no rotation; names `what`.
    """
    t = np.asarray(transform, dtype=np.float64)
    if t.shape != (4, 4):
        raise PoseError(f"{what} must be a 4x4 matrix, not of shape {t.shape}")
    if not np.all(np.isfinite(t)):
        raise PoseError(f"{what} holds NaN or infinite numbers")
    rotation = t[:3, :3]
    off = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if off > 1e-3 or np.linalg.det(rotation) < 0.0 or np.abs(t[3] - (0.0, 0.0, 0.0, 1.0)).max() > 1e-9:
        raise PoseError(f"{what} is no rigid transform: its 3x3 part is off a rotation by {off:.3g}")
    return t


def _assemble(rotation: FloatArray, translation: FloatArray) -> FloatArray:
    batch = np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1])
    out = np.zeros((*batch, 4, 4))
    out[..., :3, :3] = rotation
    out[..., :3, 3] = translation
    out[..., 3, 3] = 1.0
    return out
