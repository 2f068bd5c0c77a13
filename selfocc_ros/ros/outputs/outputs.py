# SPDX-License-Identifier: Apache-2.0
"""All that the node publishes of a prediction. Each output is computed only while it is wanted.

Wanted is what its switch `publish.*` allows and somebody subscribes to. An output that fails costs itself, not the
others. Late subscribers to a latched topic get the newest moment, also where no further one comes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.geometry.voxels import OccupancyVolume
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros import qos
from selfocc_ros.ros.complaints import Complaints
from selfocc_ros.ros.outputs.depth import DepthTopics
from selfocc_ros.ros.outputs.memory import Memory
from selfocc_ros.ros.outputs.moment import Moment
from selfocc_ros.ros.outputs.topics import topics
from selfocc_ros.ros.pipeline import PredictionLike, PredictorLike
from selfocc_ros.sensing.frames import RigSample
from selfocc_ros.viz.scene_files import write_scene

LOOK_S = 0.2


class NothingPredictedError(SelfOccError):
    """There is no prediction yet that could be saved."""


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
        self._complain = complain
        self._predictor = predictor
        self._lock = threading.Lock()
        self._closed = False
        self._newest: Moment | None = None
        self._served: set[str] = set()  # outputs that the newest moment has gone out on
        self._memory = Memory(tree)
        self._depth = DepthTopics(node)
        self._topics = topics(self._memory)
        self._publishers: dict[str, Publisher] = {
            name: qos.offer(node, topic.kind, f"~/{name}", topic.profile) for name, topic in self._topics.items()
        }
        # Steady time: subscribers also come while /clock stands still.
        self._timer = node.create_timer(LOOK_S, self._serve_late, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self, prediction: PredictionLike, sample: RigSample) -> dict[str, float]:
        """Publish what is wanted of a prediction; seconds by name of what was computed."""
        with self._lock:
            values, predictor = self._parameters(), self._predictor()
            volume = self._decided(prediction, predictor, values.occupied_below)
            moment = Moment(volume, sample.stamp_ns, values.base_frame, values.ground_z, values)
            self._newest, self._served = moment, set()
            took = {name: self._send(name, moment) for name in self._topics if self._wanted(name, values)}
            if values.publish.depth and predictor is not None and not self._closed:
                took |= self._depth.publish(predictor, prediction, sample, values.depth_stride, self._attempt)
            return took

    def forget(self) -> None:
        """Time has jumped, or somebody asks for a fresh start: nothing of before is published any more."""
        # No lock: whoever calls must not wait for an output that takes long.
        self._newest = None
        self._memory.forget()

    def save(self, directory: str) -> str:
        """Write the newest occupancy as PLY and npz (see `write_scene`); a sentence that names the files.

        Args:
            directory: made if missing; empty is `selfocc` in the folder of ROS (~/.ros).

        Raises:
            NothingPredictedError: there is none yet.
            SceneFileError: the files cannot be written.
        """
        moment = self._newest
        if moment is None:
            raise NothingPredictedError("nothing has been predicted yet, so there is no scene to save")
        folder = Path(directory) if directory else Path(os.environ.get("ROS_HOME") or "~/.ros") / "selfocc"
        ply, npz = write_scene(folder.expanduser(), moment.volume, moment.stamp_ns, moment.frame, moment.ground_z)
        return f"saved {ply} and {npz}"

    def close(self) -> None:
        """Take the topics away; a prediction that is being published may get half of its outputs out."""
        self._closed = True
        self._newest = None
        self._node.destroy_timer(self._timer)
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._depth.close()

    def _decided(
        self, prediction: PredictionLike, predictor: PredictorLike | None, occupied_below: float
    ) -> OccupancyVolume:
        if occupied_below == 0.0 or predictor is None:
            return prediction.volume
        return predictor.decide(prediction, occupied_below)

    def _wanted(self, name: str, values: NodeParameters) -> bool:
        switch = self._topics[name].switch
        allowed = getattr(values.publish, switch) and (switch != "local_map" or values.fusion.enabled)
        return bool(allowed and not self._closed and self._publishers[name].get_subscription_count())

    def _send(self, name: str, moment: Moment) -> float:
        def make_and_publish() -> None:
            message = self._topics[name].make(moment)
            if message is not None:
                self._publishers[name].publish(message)

        self._served.add(name)
        return self._attempt(name, make_and_publish)

    def _attempt(self, name: str, work: Callable[[], None]) -> float:
        """Seconds that the work of an output took; what it raises is told, and costs this output only."""
        begin = time.perf_counter()
        try:
            work()
        except Exception as error:  # noqa: BLE001  told once per kind
            reason = str(error) if isinstance(error, SelfOccError) else f"{type(error).__name__}: {error}"
            if not self._closed:
                self._complain(("output", name, type(error)), f"~/{name} is not published: {reason}")
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
                if topic.latched and name not in self._served and self._wanted(name, self._parameters()):
                    self._send(name, moment)
        finally:
            self._lock.release()
