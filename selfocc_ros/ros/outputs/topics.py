# SPDX-License-Identifier: Apache-2.0
"""The topics of the node and the message of each, but for depth, whose topics come with the cameras (`depth.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nav_msgs.msg import OccupancyGrid
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker

from selfocc_ros.ros import qos
from selfocc_ros.ros.outputs.clouds import free_points, occupied_points
from selfocc_ros.ros.outputs.grids import occupancy_grid, semantic_grid
from selfocc_ros.ros.outputs.memory import Memory
from selfocc_ros.ros.outputs.moment import Moment
from selfocc_ros.ros.outputs.sdf_slice import sdf_slice, sdf_slice_points
from selfocc_ros.ros.outputs.voxel_markers import voxel_markers


@dataclass(frozen=True)
class Topic:
    """One output.

    Attributes:
        kind: class of its messages.
        profile: its quality of service.
        switch: name of its parameter in `NodeParameters.publish`.
        make: the message of a moment, serialised or not, or None where there is none to publish.
    """

    kind: Any
    profile: QoSProfile
    switch: str
    make: Callable[[Moment], Any]

    @property
    def latched(self) -> bool:
        """Whether late subscribers get the last message."""
        return self.profile is qos.GRID


def topics(memory: Memory) -> dict[str, Topic]:
    """All of them by name below the node's; those of the local map feed `memory`."""
    return {
        "occupancy_grid": Topic(OccupancyGrid, qos.GRID, "occupancy_grid", _occupancy_grid),
        "occupied_points": Topic(PointCloud2, qos.POINTS, "occupied_points", _occupied_points),
        "sdf_slice": Topic(OccupancyGrid, qos.GRID, "sdf_slice", _sdf_slice),
        "sdf_slice_points": Topic(PointCloud2, qos.POINTS, "sdf_slice", _sdf_slice_points),
        "voxel_markers": Topic(Marker, qos.POINTS, "voxel_markers", _voxel_markers),
        "semantic_grid": Topic(OccupancyGrid, qos.GRID, "semantic_grid", _semantic_grid),
        "free_points": Topic(PointCloud2, qos.POINTS, "free_points", _free_points),
        "local_map": Topic(OccupancyGrid, qos.GRID, "local_map", lambda moment: _occupancy_grid(memory.add(moment))),
        "local_map_points": Topic(
            PointCloud2, qos.POINTS, "local_map", lambda moment: _occupied_points(memory.add(moment))
        ),
    }


def _voxel_markers(moment: Moment) -> bytes:
    most = moment.parameters.max_markers
    return voxel_markers(moment.volume, moment.stamp_ns, moment.frame, moment.ground_z, most)


def _occupancy_grid(moment: Moment) -> OccupancyGrid:
    band = moment.parameters.height_band
    return occupancy_grid(moment.volume, moment.stamp_ns, moment.frame, band, moment.ground_z, moment.ground)


def _occupied_points(moment: Moment) -> PointCloud2:
    surface_only = moment.parameters.surface_only
    return occupied_points(moment.volume, moment.stamp_ns, moment.frame, moment.ground_z, surface_only)


def _sdf_slice(moment: Moment) -> OccupancyGrid:
    height = moment.ground_z + moment.parameters.sdf_slice_height
    return sdf_slice(moment.slice[0], moment.volume, moment.stamp_ns, moment.frame, height)


def _sdf_slice_points(moment: Moment) -> PointCloud2:
    return sdf_slice_points(*moment.slice, moment.volume, moment.stamp_ns, moment.frame)


def _semantic_grid(moment: Moment) -> OccupancyGrid | None:
    if moment.volume.classes is None:
        return None  # the network has no classes: nothing is wrong
    highest = moment.parameters.height_band[1]
    return semantic_grid(moment.volume, moment.stamp_ns, moment.frame, highest, moment.ground_z, moment.ground)


def _free_points(moment: Moment) -> PointCloud2:
    return free_points(moment.volume, moment.stamp_ns, moment.frame, moment.band_ZXY)
