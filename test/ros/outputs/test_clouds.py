# SPDX-License-Identifier: Apache-2.0
"""Voxels as PointCloud2, field by field and voxel by voxel."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import PointField
from small_volumes import STAMP_NS, volume

from selfocc_ros.geometry.voxels import FREE, OCCUPIED, OccupancyVolume, VoxelGrid
from selfocc_ros.ros.outputs.clouds import occupied_points
from selfocc_ros.viz.colours import class_colours, height_colours


def test_points_are_voxel_centres_with_the_fields_that_rviz_reads():
    message = occupied_points(volume((0, 0, 0), (14, 9, 7)), STAMP_NS, "base_link")
    fields = [(f.name, f.offset, f.datatype, f.count) for f in message.fields]
    assert fields == [(name, 4 * i, PointField.FLOAT32, 1) for i, name in enumerate(("x", "y", "z", "rgb"))]
    assert (message.header.frame_id, message.header.stamp.nanosec) == ("base_link", 123_456_789)
    assert (message.height, message.width, message.point_step, message.row_step) == (1, 2, 16, 32)
    assert (message.is_dense, message.is_bigendian) == (True, False)
    assert message.data.typecode == "B"
    points = np.frombuffer(message.data, "<f4").reshape(2, 4)
    np.testing.assert_allclose(points[:, :3], [[-1.8, -0.8, -0.8], [3.8, 2.8, 2.0]], rtol=1e-6)


def test_colours_go_by_height_above_the_ground_in_the_byte_order_of_rviz():
    message = occupied_points(volume((0, 0, 0), (0, 0, 7)), 0, "base_link", ground_z=-0.5)
    packed = np.frombuffer(message.data, np.uint8).reshape(2, 16)[:, 12:]
    expected = height_colours(np.array([-0.8, 2.0]) + 0.5)
    np.testing.assert_array_equal(packed[:, :3], expected[:, ::-1])  # b, g, r
    assert (expected[0] != expected[1]).any()


def test_points_of_a_network_with_classes_have_their_label_and_its_colour():
    plain = volume((0, 0, 0), (14, 9, 7))
    classes = np.zeros(plain.state.shape, np.uint8)
    classes[14, 9, 7] = 2
    names = ("road", "car", "vegetation")
    message = occupied_points(OccupancyVolume(plain.grid, plain.state, None, classes, names), STAMP_NS, "base_link")
    fields = [(f.name, f.offset, f.datatype, f.count) for f in message.fields]
    floats = [(name, 4 * i, PointField.FLOAT32, 1) for i, name in enumerate(("x", "y", "z", "rgb"))]
    assert fields == [*floats, ("label", 16, PointField.UINT8, 1)]
    assert (message.width, message.point_step, message.row_step) == (2, 20, 40)
    data = np.frombuffer(message.data, np.uint8).reshape(2, 20)
    assert data[:, 16].tolist() == [0, 2]
    assert not data[:, 17:].any()
    np.testing.assert_array_equal(data[:, 12:15], class_colours([0, 2], names)[:, ::-1])  # b, g, r
    np.testing.assert_allclose(data[:, :12].copy().view("<f4"), [[-1.8, -0.8, -0.8], [3.8, 2.8, 2.0]], rtol=1e-6)


def test_the_voxels_come_back_from_the_points():
    rng = np.random.default_rng(1)
    grid = VoxelGrid((-40, -40, -1), (40, 40, 5.4), (200, 200, 16))
    state = rng.choice(np.array([FREE, OCCUPIED], np.uint8), grid.shape, p=[0.97, 0.03])
    message = occupied_points(OccupancyVolume(grid, state), 0, "base_link")
    points = np.frombuffer(message.data, "<f4").reshape(-1, 4)[:, :3]
    index, inside = grid.index_of(points)
    assert inside.all()
    back = np.full(grid.shape, FREE, np.uint8)
    back[tuple(index.T)] = OCCUPIED
    np.testing.assert_array_equal(back, state)


def test_nothing_occupied_is_an_empty_cloud():
    message = occupied_points(volume(), 0, "base_link")
    assert (message.width, message.row_step, len(message.data)) == (0, 0, 0)
