# SPDX-License-Identifier: Apache-2.0
"""Listens to a running system as the node would and says what it offers and lacks: `selfocc check` without a recording.

Cameras, calibrations, transforms and sets come in through the node's own parts, and `logs/check.py` judges them as it
judges a recording. Nothing is published and no service is called, so nobody on the vehicle is disturbed.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import LoggingSeverity, set_logger_level
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.logs.check import Check
from selfocc_ros.logs.check_report import CameraReport, CheckReport
from selfocc_ros.logs.convert import stamp_ns
from selfocc_ros.logs.records import TopicInfo
from selfocc_ros.ros import graph, qos
from selfocc_ros.ros.complaints import Complaints
from selfocc_ros.ros.diagnostics import node_of_state
from selfocc_ros.ros.inputs import CameraInputs
from selfocc_ros.ros.status import Status
from selfocc_ros.ros.transform_watch import TransformWatch
from selfocc_ros.ros.transforms import TransformListener
from selfocc_ros.ros.watch import START_S
from selfocc_ros.sensing.discovery import CameraTopics
from selfocc_ros.sensing.frames import CameraFrame
from selfocc_ros.sensing.gather import gather_sample
from selfocc_ros.sensing.rig_source import RigSource
from selfocc_ros.sensing.sync import FrameSet

NAME = "selfocc_check"
_LOOK_S, _POLL_S, _SPIN_S = 0.25, 0.05, 0.02
_FIND_S = START_S + 1.0  # until the node starts with those of its cameras that are there
_PATIENCE_S = 10.0  # for a graph that goes on changing
_OWN_CLOCK_S = 2.0
# What to do about a node that does not work, by its state.
_REMEDIES = {
    "unconfigured": "{0} waits to be configured: ros2 lifecycle set {0} configure, then activate",
    "inactive": "{0} is configured and not active: ros2 lifecycle set {0} activate",
    "disabled": "{0} was told to rest: ros2 service call {0}/set_enabled std_srvs/srv/SetBool '{{data: true}}'",
}
_KINDS = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo",
          "tf2_msgs/msg/TFMessage")  # fmt: skip


def check_live(source: RigSource, seconds: float = 5.0, domain: int | None = None) -> CheckReport:
    """Listen to the running system and say what it offers and lacks for the node.

    Args:
        source: what the node would know of its cameras.
        seconds: how long to listen once the cameras are found.
        domain: ROS domain; None is that of the environment.

    Raises:
        MissingPackageError: message_filters are asked for and not there.
    """
    context = rclpy.Context()
    # Ctrl-C is the caller's.
    rclpy.init(context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
    try:
        check = LiveCheck(source, context)
        try:
            check.listen(seconds)
            return check.report()
        finally:
            check.close()
    finally:
        rclpy.shutdown(context=context)


class _Wanting(Status):
    """Keeps the node's own sentences about what it cannot use."""

    def __init__(self) -> None:
        super().__init__()
        self.wanting: list[str] = []
        self.problems: dict[tuple[str, str], str] = {}

    def set_waiting(self, sentences: list[str]) -> None:
        """Cameras that are asked for and not there."""
        self.wanting = list(sentences)
        super().set_waiting(sentences)

    def calibration(self, camera: str, problem: str = "") -> None:
        """A calibration that cannot be used, or can."""
        self.problems[camera, "calibration"] = problem
        super().calibration(camera, problem)

    def problem(self, camera: str, kind: str, sentence: str) -> None:
        """A QoS that cannot match."""
        self.problems[camera, kind] = sentence
        super().problem(camera, kind, sentence)

    def of_kind(self, kind: str) -> dict[str, str]:
        """Problems of a kind by camera."""
        return {camera: text for (camera, its), text in self.problems.items() if its == kind and text}


@dataclass
class _NodeState:
    """The entries of one occupancy node in /diagnostics, by name: level and text."""

    state: str = ""
    entries: dict[str, tuple[bytes, str]] = field(default_factory=dict)


class LiveCheck:
    """One session of listening; what `logs.check.Heard` asks for are its attributes.

    Args:
        source: what the node would know of its cameras.
        context: initialised; every node of the check lives in it.
    """

    def __init__(self, source: RigSource, context: rclpy.Context) -> None:
        parameters = source.parameters
        self.base_frame, self.fixed_frame = parameters.base_frame, parameters.fixed_frame
        self.max_skew_s = parameters.max_skew
        self.models: Mapping[str, CameraModel] = {}
        self.cameras: Mapping[str, CameraTopics] = {}
        self.calibration_problems: Mapping[str, str] = {}
        self.transform_problems: dict[tuple[str, str], str] = {}
        self.tree = TransformTree(history_s=15.0)
        self.topics: dict[str, TopicInfo] = {}
        self._tf_wait_s = parameters.tf_wait
        self._context = context
        self._node = Node(NAME, context=context, enable_rosout=False, start_parameter_services=False)
        for name in (NAME, f"{NAME}_tf"):  # what they say becomes the report
            set_logger_level(name, LoggingSeverity.FATAL)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._clock_ns = 0
        self._clock: Any = None
        self._images: Counter[str] = Counter()
        self._nodes: dict[str, _NodeState] = {}
        self._jumps = 0
        self._listening = True
        self._pending: list[tuple[float, FrameSet[CameraFrame]]] = []
        self._status = _Wanting()
        self._check = self._afresh()
        self._since_s = self._end_s = time.monotonic()
        self._inputs = CameraInputs(
            self._node, source, self._status, Complaints(lambda _: None),
            on_sets=self._take, on_jump=self._jump, on_frame=self._frame, tree=self.tree,
        )  # fmt: skip
        self._watch = TransformWatch(self._now_ns)
        self._listener = TransformListener(self._node, self.tree, self._note_transform, self._watch.add)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, qos.DIAGNOSTICS)

    def close(self) -> None:
        """Stop listening."""
        self._inputs.close()
        self._listener.close()
        self._executor.shutdown()
        self._node.destroy_node()

    def listen(self, seconds: float) -> None:
        """Listen for `seconds` from the last change of the cameras on, or a little longer than it in all."""
        begin = time.monotonic()
        now_s = look_s = poll_s = begin
        while self._inputs.deciding or now_s - self._since_s < (seconds if self.cameras else max(seconds, _FIND_S)):
            now_s = time.monotonic()
            if now_s - begin >= seconds + _PATIENCE_S:
                break
            if now_s >= look_s:
                look_s = now_s + _LOOK_S
                self._look(now_s)
            if now_s >= poll_s:
                self._inputs.poll(now_s - poll_s + _POLL_S)
                poll_s = now_s + _POLL_S
            self._gather(now_s)
            self._executor.spin_once(timeout_sec=_SPIN_S)
        # The transforms of the last sets may still come; what else comes meanwhile does not count.
        self._listening, self._end_s = False, now_s
        while self._pending:
            self._gather(time.monotonic())
            self._executor.spin_once(timeout_sec=_SPIN_S)

    def report(self) -> CheckReport:
        """What was heard so far."""
        node, report = self._node, self._check.report
        report.duration_s = self._end_s - self._since_s
        self.cameras, self.models = self._inputs.cameras, self._inputs.models()
        self.calibration_problems = self._status.of_kind("calibration")
        self.topics = self._topics()
        self._check.finish()
        for name, camera in report.cameras.items():
            camera.offered = graph.offered(node, camera.image_topic)
            reason = self._status.of_kind("qos").get(name)
            if reason:
                camera.problems.insert(0, reason)
            elif camera.offered.startswith("best effort") and "jpeg" not in camera.encodings and camera.images:
                camera.notes.append(
                    "raw images offered best effort are mostly lost where they have megabytes: offer them reliably, "
                    "or publish compressed ones"
                )
        report.problems += self._missing_cameras()
        report.advice += self._advice()
        report.nodes = {name: self._words(name, state) for name, state in sorted(self._nodes.items())}
        for name, state in self._nodes.items():
            if state.state == "error":
                report.problems.append(f"node {name} cannot work: {report.nodes[name][0]}")
        if not self._nodes:
            report.notes.append("no occupancy node is heard on /diagnostics")
        return report

    def _afresh(self) -> Check:
        """Forget what was heard: the cameras are others now."""
        domain = self._context.get_domain_id()
        self._pending.clear()
        self._images.clear()
        return Check(self, CheckReport(f"ROS domain {domain}", live=True))

    def _look(self, now_s: float) -> None:
        self._inputs.look(now_s)
        cameras = self._inputs.cameras
        if cameras != self.cameras:
            self.cameras = cameras
            self._check = self._afresh()
            self._since_s = now_s
        if self._clock is None and self._node.count_publishers("/clock"):
            best_effort = qos.profile(1, reliable=False)
            self._clock = self._node.create_subscription(Clock, "/clock", self._tick, best_effort)

    def _tick(self, message: Any) -> None:
        self._clock_ns = stamp_ns(message.clock)

    def _now_ns(self) -> int:
        """The time of the system: that of /clock where somebody publishes it."""
        return self._clock_ns or time.time_ns()

    def _frame(self, frame: CameraFrame) -> None:
        if self._listening:
            self._images[frame.camera] += 1
            self._check.add_frame(frame, self._now_ns())

    def _take(self, sets: list[FrameSet[CameraFrame]]) -> None:
        if self._listening:
            self._pending += [(time.monotonic(), frames) for frames in sets]

    def _jump(self, _seconds: float) -> None:
        self._jumps += 1
        self._pending.clear()

    def _gather(self, now_s: float) -> None:
        """Look up the poses of the sets for whose transforms the node would have waited until now."""
        while self._pending and now_s - self._pending[0][0] >= self._tf_wait_s:
            frames = self._pending.pop(0)[1]
            models = self._inputs.models()
            self._check.add_sample(gather_sample(frames, models, {}, self.tree, self.base_frame, self.fixed_frame))

    def _note_transform(self, sentence: str) -> None:
        self.transform_problems["", sentence] = sentence

    def _diagnose(self, message: Any) -> None:
        for status in message.status:
            name = node_of_state(status.name)
            if name is not None:
                state = {pair.key: pair.value for pair in status.values}.get("state")
                if state is not None:
                    self._nodes[f"/{name}"] = _NodeState(state)
        for status in message.status:
            owner = self._nodes.get("/" + status.name.partition(": ")[0])
            if owner is not None:
                owner.entries[status.name] = (status.level, status.message)

    def _topics(self) -> dict[str, TopicInfo]:
        counts = dict(self._watch.messages)
        counts |= {topics.image: self._images[name] for name, topics in self.cameras.items()}
        return {
            topic: TopicInfo(kinds[0], counts.get(topic, 0))
            for topic, kinds in self._node.get_topic_names_and_types()
            if kinds[0] in _KINDS and self._node.count_publishers(topic) and not self._is_output(topic)
        }

    def _is_output(self, topic: str) -> bool:
        """Whether an occupancy node publishes it (rendered depth)."""
        return any(topic.startswith(f"{name}/") for name in self._nodes)

    def _missing_cameras(self) -> list[str]:
        """Of cameras that parameter `cameras` names; that there are none at all is told already."""
        return [sentence for sentence in self._status.wanting if sentence.startswith("camera ")]

    def _advice(self) -> list[str]:
        report, out = self._check.report, []
        for topic, wanted in (("/tf", qos.TF), ("/tf_static", qos.TF_STATIC)):
            for name, reason in graph.unheard(self._node, topic, wanted).items():
                out.append(f"{name} must offer {topic} {_as(wanted)}; nobody hears it otherwise ({reason})")
        out += self._watch.two_parents()
        out += [_REMEDIES[state.state].format(name) for name, state in self._nodes.items() if state.state in _REMEDIES]
        heard = [camera for camera in report.cameras.values() if camera.images]
        stamped = [camera for camera in heard if not any("stamps are zero" in text for text in camera.problems)]
        if stamped:
            out += self._about_time(min(camera.delay_ms for camera in stamped) * 1e-3, _frames(stamped))
        if self._jumps:
            report.notes.append(f"time jumped {self._jumps} times, as it does where a recording is played in a loop")
        if self._clock_ns:
            report.notes.append("time is that of /clock: the node needs use_sim_time:=true")
        others = [name for name, _ in self._node.get_node_names_and_namespaces() if not name.startswith(NAME)]
        if not report.cameras and not others:
            out.append(
                f"no other node is heard in {report.path}: ROS_DOMAIN_ID, ROS_AUTOMATIC_DISCOVERY_RANGE "
                f"({os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE', 'not set')}) and RMW_IMPLEMENTATION must be those "
                "of the vehicle"
            )
        return out

    def _about_time(self, images_delay_s: float, frames: list[str]) -> list[str]:
        """What to do where stamps of images, transforms and the clock do not fit."""
        chain = [self.base_frame, *frames]
        transforms_delay_s = self._watch.delay_s(chain)
        if transforms_delay_s is not None and abs(transforms_delay_s - images_delay_s) > _OWN_CLOCK_S:
            sentence = (
                f"images are stamped {images_delay_s:.1f} s and transforms {transforms_delay_s:.1f} s before they are "
                "received, so their clocks differ: synchronise them, or set stamp to 'receive'"
            )
            return [sentence]
        if abs(images_delay_s) > _OWN_CLOCK_S and transforms_delay_s is None:
            sentence = (
                f"images are stamped {images_delay_s:.1f} s before they are received: if the cameras have a clock of "
                "their own, synchronise it, or set stamp to 'receive'"
            )
            return [sentence]
        return self._watch.late(chain, images_delay_s, self._tf_wait_s)

    def _words(self, name: str, state: _NodeState) -> list[str]:
        """What a node says of itself, its state first, and who cannot hear it."""
        own = [text for entry, (_, text) in state.entries.items() if node_of_state(entry)]
        out = own or [state.state]
        out += [
            f"{entry.partition(': ')[2]}: {text}"
            for entry, (level, text) in state.entries.items()
            if level != DiagnosticStatus.OK and not node_of_state(entry)
        ]
        out += graph.deaf(self._node, name)
        topics = graph.listened_to(self._node, name)
        out.append(f"subscribed to: {', '.join(topics)}" if topics else "nobody subscribes to what it publishes")
        return out


def _frames(cameras: Iterable[CameraReport]) -> list[str]:
    return [frame for camera in cameras for frame in camera.frame_id.split(", ") if frame]


def _as(profile: Any) -> str:
    return "reliable and transient local" if qos.same(profile, qos.TF_STATIC) else "reliable"
