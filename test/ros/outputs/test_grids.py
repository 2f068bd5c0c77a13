# SPDX-License-Identifier: Apache-2.0
"""Voxels as OccupancyGrid, field by field and cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
from small_volumes import GRID, STAMP_NS, volume

from selfocc_ros.geometry.ground import BandError
from selfocc_ros.geometry.voxels import FREE, OCCUPIED, UNKNOWN, OccupancyVolume
from selfocc_ros.ros.outputs.clouds import occupied_points
from selfocc_ros.ros.outputs.grids import occupancy_grid


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


def test_the_band_is_above_the_ground_wherever_base_link_is():
    message = occupancy_grid(volume((0, 0, 3), grid=GRID.shifted(-0.35)), 0, "base_link", ground_z=-0.35)
    assert message.data[0] == 100
    assert message.info.origin.position.z == pytest.approx(-0.35)


def test_a_band_outside_the_voxels_is_refused_in_words():
    with pytest.raises(BandError, match=r"height_band \[3, 4\] m lies outside the voxels, .*-1.00 to 2.20 m"):
        occupancy_grid(volume(), 0, "base_link", band=(3.0, 4.0))
