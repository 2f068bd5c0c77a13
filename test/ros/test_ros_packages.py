# SPDX-License-Identifier: Apache-2.0
"""What ROS's own packages make of what we publish and compute: sensor_msgs_py and tf_transformations.

Both are pure Python: where no ROS has them, their sources on PYTHONPATH will do (and transforms3d from PyPI).
cv_bridge and message_filters have their tests in test_optional.py.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
import pytest

from selfocc_ros.geometry.poses import matrix_to_quaternion, pose, pose_from_rpy
from selfocc_ros.geometry.voxels import FREE, OCCUPIED, OccupancyVolume, VoxelGrid
from selfocc_ros.logs.convert import cloud_points
from selfocc_ros.ros.outputs.clouds import occupied_points

GRID = VoxelGrid((-2.0, -1.0, -1.0), (4.0, 3.0, 2.2), (15, 10, 8))


def installed(name: str, package: str) -> ModuleType:
    """The module, or a skip that says what is missing and how one gets it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"{package} cannot be imported ({error}): install ros-<distro>-{package.replace('_', '-')}")


def test_sensor_msgs_py_reads_our_voxels() -> None:
    clouds = installed("sensor_msgs_py.point_cloud2", "sensor_msgs_py")
    state = np.random.default_rng(3).choice(np.array([FREE, OCCUPIED], np.uint8), GRID.shape, p=[0.8, 0.2])
    classes = np.random.default_rng(4).integers(0, 3, GRID.shape).astype(np.uint8)
    volume = OccupancyVolume(GRID, state, None, classes, ("road", "car", "vegetation"))
    message = occupied_points(volume, 5, "base_link")
    points = clouds.read_points(message)
    assert points.dtype.names == ("x", "y", "z", "rgb", "label")
    index, inside = GRID.index_of(np.stack([points[axis] for axis in "xyz"], axis=-1))
    assert inside.all()
    seen = np.zeros(GRID.shape, bool)
    seen[tuple(index.T)] = True
    np.testing.assert_array_equal(seen, state == OCCUPIED)
    np.testing.assert_array_equal(points["label"], classes[tuple(index.T)])
    np.testing.assert_array_equal(clouds.read_points_numpy(message, ["x", "y", "z"]), cloud_points(message))


def test_we_read_the_clouds_that_sensor_msgs_py_writes() -> None:
    clouds = installed("sensor_msgs_py.point_cloud2", "sensor_msgs_py")
    from sensor_msgs.msg import PointField
    from std_msgs.msg import Header

    # As a LiDAR driver has it: more fields than are wanted, and a gap between them.
    fields = [
        PointField(name=name, offset=offset, datatype=PointField.FLOAT32, count=1)
        for name, offset in (("x", 0), ("y", 4), ("z", 8), ("intensity", 16))
    ]
    points = np.random.default_rng(5).normal(size=(50, 4)).astype(np.float32)
    message = clouds.create_cloud(Header(), fields, points)
    np.testing.assert_array_equal(cloud_points(message), points[:, :3])


@pytest.mark.parametrize("angles", [(0.1, -0.2, 0.3), (-3.0, 1.4, 2.9), (0.0, 0.0, np.pi / 2)])
def test_roll_pitch_yaw_mean_what_tf_transformations_means(angles: tuple[float, float, float]) -> None:
    tf = installed("tf_transformations", "tf_transformations")
    ours = pose_from_rpy([1.0, 2.0, 3.0], *angles)
    np.testing.assert_allclose(ours[:3, :3], tf.euler_matrix(*angles)[:3, :3], atol=1e-12)
    quaternion = tf.quaternion_from_euler(*angles)
    np.testing.assert_allclose(pose([1.0, 2.0, 3.0], quaternion), ours, atol=1e-12)
    # A rotation has two quaternions, of opposite signs.
    assert abs(matrix_to_quaternion(ours[:3, :3]) @ quaternion) == pytest.approx(1.0)
