# SPDX-License-Identifier: Apache-2.0
"""All that the node publishes of a prediction. Each output is computed only while it is wanted.

Wanted is what its switch `publish.*` allows and somebody subscribes to. An output that fails costs itself, not the
others. Late subscribers to a latched topic get the newest moment, also where no further one comes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nav_msgs.msg import OccupancyGrid
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros import qos
from selfocc_ros.ros.outputs.clouds import free_points, occupied_points
from selfocc_ros.ros.outputs.grids import occupancy_grid, semantic_grid
from selfocc_ros.ros.outputs.moment import Moment
from selfocc_ros.ros.outputs.sdf_slice import sdf_slice, sdf_slice_points
from selfocc_ros.ros.outputs.voxel_markers import VoxelMarkers
from selfocc_ros.ros.pipeline import PredictionLike, PredictorLike
from selfocc_ros.ros.status import Complaints
from selfocc_ros.sensing.frames import RigSample

LOOK_S = 0.2


@dataclass(frozen=True)
class _Topic:
    kind: Any
    profile: QoSProfile
    switch: str  # of NodeParameters.publish
    make: Callable[[Moment], Any]  # the message, or None where there is none to publish
    latched: bool = False


class Outputs:
    """Publishers of `node`, and what makes their messages.

    Args:
        parameters: asked anew for each prediction, since most may change.
        tree: the vehicle in the fixed frame, for the local map.
        complain: told of outputs that cannot be computed.
        predictor: the one in use, for what is computed from its scene.
    """

    def __init__(
        self,
        node: Node,
        parameters: Callable[[], NodeParameters],
        tree: TransformTree,
        complain: Complaints,
        predictor: Callable[[], PredictorLike | None],
    ) -> None:
        self._node = node
        self._parameters = parameters
        self._tree = tree
        self._complain = complain
        self._predictor = predictor
        self._lock = threading.Lock()
        self._closed = False
        self._newest: Moment | None = None
        self._sent: dict[str, Moment] = {}
        self._markers = VoxelMarkers()
        self._topics = self._make_topics()
        self._publishers: dict[str, Publisher] = {
            name: node.create_publisher(topic.kind, f"~/{name}", topic.profile) for name, topic in self._topics.items()
        }
        # Steady time: subscribers also come while /clock stands still.
        self._timer = node.create_timer(LOOK_S, self._serve_late, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self, prediction: PredictionLike, sample: RigSample) -> dict[str, float]:
        """Publish what is wanted of a prediction; seconds by name of what was computed."""
        with self._lock:
            moment = self._newest = Moment(prediction.volume, sample.stamp_ns, self._parameters())
            return {name: self._send(name, moment) for name in self._topics if self._wanted(name)}

    def forget(self) -> None:
        """Time has jumped, or somebody asks for a fresh start: nothing of before is published any more."""
        self._newest = None  # no lock: whoever calls must not wait for an output that takes long

    def close(self) -> None:
        """Take the topics away; a prediction that is being published may get half of its outputs out."""
        self._closed = True
        self._newest = None
        self._node.destroy_timer(self._timer)
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def _make_topics(self) -> dict[str, _Topic]:
        return {
            "occupancy_grid": _Topic(OccupancyGrid, qos.GRID, "occupancy_grid", _occupancy_grid, latched=True),
            "occupied_points": _Topic(PointCloud2, qos.POINTS, "occupied_points", _occupied_points),
            "sdf_slice": _Topic(OccupancyGrid, qos.GRID, "sdf_slice", _sdf_slice, latched=True),
            "sdf_slice_points": _Topic(PointCloud2, qos.POINTS, "sdf_slice", _sdf_slice_points),
            "voxel_markers": _Topic(Marker, qos.POINTS, "voxel_markers", self._voxel_markers),
            "semantic_grid": _Topic(OccupancyGrid, qos.GRID, "semantic_grid", _semantic_grid, latched=True),
            "free_points": _Topic(PointCloud2, qos.POINTS, "free_points", _free_points),
        }

    def _wanted(self, name: str) -> bool:
        allowed = getattr(self._parameters().publish, self._topics[name].switch)
        return bool(allowed and not self._closed and self._publishers[name].get_subscription_count())

    def _send(self, name: str, moment: Moment) -> float:
        begin = time.perf_counter()
        try:
            message = self._topics[name].make(moment)
            if message is not None:
                self._publishers[name].publish(message)
        except SelfOccError as error:
            self._complain(("output", name, type(error)), f"~/{name} is not published: {error}")
        except Exception as error:  # noqa: BLE001  one output must not take the others with it; told once per kind
            if not self._closed:
                sentence = f"~/{name} is not published: {type(error).__name__}: {error}"
                self._complain(("output", name, type(error)), sentence)
        self._sent[name] = moment
        return time.perf_counter() - begin

    def _serve_late(self) -> None:
        """The newest moment for latched topics that have just been subscribed to; the executor is never held up."""
        if not self._lock.acquire(blocking=False):
            return  # the working thread is about to publish a newer one
        try:
            moment = self._newest
            if moment is None:
                return
            for name, topic in self._topics.items():
                if topic.latched and self._sent.get(name) is not moment and self._wanted(name):
                    self._send(name, moment)
        finally:
            self._lock.release()

    def _voxel_markers(self, moment: Moment) -> Marker:
        values = moment.parameters
        return self._markers.message(moment.volume, moment.stamp_ns, moment.frame, values.ground_z, values.max_markers)


def _occupancy_grid(moment: Moment) -> OccupancyGrid:
    values = moment.parameters
    return occupancy_grid(
        moment.volume, moment.stamp_ns, moment.frame, values.height_band, values.ground_z, moment.ground
    )


def _occupied_points(moment: Moment) -> PointCloud2:
    values = moment.parameters
    return occupied_points(moment.volume, moment.stamp_ns, moment.frame, values.ground_z, values.surface_only)


def _sdf_slice(moment: Moment) -> OccupancyGrid:
    height = moment.parameters.ground_z + moment.parameters.sdf_slice_height
    return sdf_slice(moment.slice[0], moment.volume, moment.stamp_ns, moment.frame, height)


def _sdf_slice_points(moment: Moment) -> PointCloud2:
    return sdf_slice_points(*moment.slice, moment.volume, moment.stamp_ns, moment.frame)


def _semantic_grid(moment: Moment) -> OccupancyGrid | None:
    if moment.volume.classes is None:
        return None  # the network has no classes: nothing is wrong
    values = moment.parameters
    return semantic_grid(
        moment.volume, moment.stamp_ns, moment.frame, values.height_band[1], values.ground_z, moment.ground
    )


def _free_points(moment: Moment) -> PointCloud2:
    return free_points(moment.volume, moment.stamp_ns, moment.frame, moment.band_ZXY)
