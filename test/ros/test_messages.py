# SPDX-License-Identifier: Apache-2.0
"""Occupancy as ROS messages, field by field."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import PointField

from selfocc_ros.geometry.voxels import FREE, OCCUPIED, UNKNOWN, OccupancyVolume, VoxelGrid
from selfocc_ros.ros.messages import BandError, band_layers, occupancy_grid, occupied_points
from selfocc_ros.viz.colours import class_colours, height_colours

GRID = VoxelGrid((-2.0, -1.0, -1.0), (4.0, 3.0, 2.2), (15, 10, 8))  # cells of 0.4 m
STAMP_NS = 1_700_000_000_123_456_789


def volume(*occupied: tuple[int, int, int], grid: VoxelGrid = GRID) -> OccupancyVolume:
    state = np.full(grid.shape, FREE, np.uint8)
    for index in occupied:
        state[index] = OCCUPIED
    return OccupancyVolume(grid, state)


def test_grid_is_row_major_with_its_origin_at_the_corner():
    message = occupancy_grid(volume((3, 7, 5)), STAMP_NS, "base_link")
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert message.header.frame_id == "base_link"
    assert message.info.resolution == pytest.approx(0.4)
    assert (message.info.width, message.info.height) == (15, 10)
    assert (message.info.origin.position.x, message.info.origin.position.y) == (-2.0, -1.0)
    assert message.info.origin.orientation.w == 1.0
    assert message.data.typecode == "b"
    assert [i for i, value in enumerate(message.data) if value == 100] == [7 * 15 + 3]
    assert set(message.data) == {0, 100}


def test_a_point_lies_in_the_cell_of_the_grid_that_its_voxel_occupies():
    rng = np.random.default_rng(0)
    state = rng.choice(np.array([FREE, OCCUPIED], np.uint8), GRID.shape, p=[0.9, 0.1])
    occupied = OccupancyVolume(GRID, state)
    grid = occupancy_grid(occupied, 0, "base_link", band=(-1.0, 2.2))
    points = np.frombuffer(occupied_points(occupied, 0, "base_link").data, "<f4").reshape(-1, 4)
    column = ((points[:, :2] - [grid.info.origin.position.x, grid.info.origin.position.y]) / 0.4).astype(int)
    hit = np.zeros((grid.info.height, grid.info.width), bool)
    hit[column[:, 1], column[:, 0]] = True
    np.testing.assert_array_equal(hit, np.array(grid.data).reshape(hit.shape) == 100)


def test_unknown_only_where_no_camera_sees_any_voxel_of_the_band():
    state = np.full(GRID.shape, FREE, np.uint8)
    state[0, 0] = UNKNOWN
    state[1, 0] = UNKNOWN
    state[1, 0, 5] = FREE  # one voxel of the column is seen
    state[2, 0] = UNKNOWN
    state[2, 0, 4] = OCCUPIED  # occupied beats unknown
    state[3, 0] = UNKNOWN
    state[3, 0, 0] = OCCUPIED  # below the band
    data = occupancy_grid(OccupancyVolume(GRID, state), 0, "base_link").data
    assert list(data[:5]) == [-1, 0, 100, -1, 0]


def test_the_band_counts_layers_that_overlap_it():
    # Layers: -1.0 .. -0.6, -0.6 .. -0.2, -0.2 .. 0.2, 0.2 .. 0.6, ..., 1.8 .. 2.2
    assert list(band_layers(GRID, (0.3, 2.0))) == [3, 4, 5, 6, 7]
    assert list(band_layers(GRID, (0.2, 1.0))) == [3, 4]  # touching is not overlapping
    assert list(band_layers(GRID, (0.45, 0.46))) == [3]


def test_the_band_is_above_the_ground_wherever_base_link_is():
    shifted = GRID.shifted(-0.35)
    assert list(band_layers(shifted, (0.3, 2.0), ground_z=-0.35)) == [3, 4, 5, 6, 7]
    message = occupancy_grid(volume((0, 0, 3), grid=shifted), 0, "base_link", ground_z=-0.35)
    assert message.data[0] == 100
    assert message.info.origin.position.z == pytest.approx(-0.35)


def test_a_band_outside_the_voxels_is_refused_in_words():
    with pytest.raises(BandError, match=r"height_band \[3, 4\] m lies outside the voxels, .*-1.00 to 2.20 m"):
        occupancy_grid(volume(), 0, "base_link", band=(3.0, 4.0))


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
