# SPDX-License-Identifier: Apache-2.0
"""Markers that are made as bytes equal those that ROS serialises."""

from __future__ import annotations

import numpy as np
import pytest
from geometry_msgs.msg import Point
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

from selfocc_ros.geometry.voxels import FREE, OCCUPIED, OccupancyVolume, VoxelGrid
from selfocc_ros.ros.outputs.voxel_markers import voxel_markers, with_points


@pytest.mark.parametrize("frame", ["", "b", "ba", "bas", "base", "base_link", "vehicle_1/base_link"])
@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_the_bytes_are_those_of_ros(frame: str, count: int):
    """Whatever stands before the points and so moves their alignment."""
    rng = np.random.default_rng(count)
    points, colours = rng.normal(size=(count, 3)), rng.random((count, 4)).astype(np.float32)
    message = Marker(ns="voxels", text="behind the points", mesh_resource="package://somewhere", id=7)
    message.header.frame_id = frame
    found = with_points(message, points, colours)
    message.points = [Point(x=x, y=y, z=z) for x, y, z in points.tolist()]
    message.colors = [ColorRGBA(r=r, g=g, b=b, a=a) for r, g, b, a in colours.tolist()]
    assert deserialize_message(found, Marker) == message
    assert len(found) == len(bytes(serialize_message(message)))


def test_cubes_of_the_size_of_voxels_or_none():
    grid = VoxelGrid((-2.0, -1.0, -1.0), (4.0, 3.0, 2.2), (15, 10, 8))
    state = np.full(grid.shape, FREE, np.uint8)
    gone = deserialize_message(voxel_markers(OccupancyVolume(grid, state), 5, "base_link"), Marker)
    assert gone.action == Marker.DELETE
    state[3, 4, 5] = OCCUPIED
    marker = deserialize_message(voxel_markers(OccupancyVolume(grid, state), 5, "base_link"), Marker)
    assert (marker.action, marker.type, marker.ns, marker.id) == (Marker.ADD, Marker.CUBE_LIST, gone.ns, gone.id)
    assert (marker.header.frame_id, marker.header.stamp.nanosec) == ("base_link", 5)
    np.testing.assert_allclose([marker.scale.x, marker.scale.y, marker.scale.z], 0.4)
    assert (marker.pose.orientation.w, len(marker.points)) == (1.0, 1)
