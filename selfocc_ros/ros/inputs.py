# SPDX-License-Identifier: Apache-2.0
"""The camera side of the node: finds cameras in the graph, subscribes, and hands complete sets of images on.

Everything here runs on the executor's thread and is short: a callback stores a message, and the synchroniser, which
only looks at stamps, says whether a set has become complete. Work on a set happens elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from selfocc_ros.geometry.cameras import CalibrationError, CameraModel
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.logs.convert import camera_frame
from selfocc_ros.ros import qos
from selfocc_ros.ros.compat import incompatible_qos_callback
from selfocc_ros.ros.complaints import Complaints
from selfocc_ros.ros.filter_sync import FilterSynchronizer
from selfocc_ros.ros.mountings import Mounting
from selfocc_ros.ros.optional import MissingPackageError, check_packages, converted
from selfocc_ros.ros.status import Status
from selfocc_ros.ros.time_watch import TimeWatch, jump_sentence
from selfocc_ros.ros.watch import Cameras, CameraWatch
from selfocc_ros.sensing.decode import image_size, is_readable
from selfocc_ros.sensing.frames import CameraFrame, DecodeError, camera_from_info
from selfocc_ros.sensing.rig_source import RigSource
from selfocc_ros.sensing.sync import FrameSet, RigSynchronizer

_KINDS = {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"}

_DEPTHS = {Image: qos.IMAGE_DEPTH, CompressedImage: qos.COMPRESSED_DEPTH, CameraInfo: qos.INFO_DEPTH}

Sets = list[FrameSet[CameraFrame]]


class CameraInputs:
    """Subscribes to the cameras of the rig and calls `on_sets` with the sets of images that became complete.

    Args:
        node: the node that subscribes.
        source: which cameras, what is known of them, and how their images are matched.
        status: told what arrives and what does not.
        complain: tells a problem once.
        on_sets: gets the complete sets, oldest first.
        on_jump: called when time jumps, with the seconds: negative where it went back.
        on_frame: called with each image of the rig as it comes in, for who looks on (`live_check.py`).
        tree: gets the mountings that the parameters' files give.
        on_mountings: called with these mountings whenever the rig changes, for who tells others of them.

    Raises:
        MissingPackageError: message_filters are asked for and not there.
    """

    def __init__(
        self,
        node: Node,
        source: RigSource,
        status: Status,
        complain: Complaints,
        on_sets: Callable[[Sets], None],
        on_jump: Callable[[float], None],
        on_frame: Callable[[CameraFrame], None] | None = None,
        tree: TransformTree | None = None,
        on_mountings: Callable[[Sequence[Mounting]], None] | None = None,
    ) -> None:
        self._node = node
        self._source = source
        check_packages(source.parameters)
        self._tree = tree
        self._status = status
        self._complain = complain
        self._on_sets = on_sets
        self._on_jump = on_jump
        self._on_frame = on_frame
        self._on_mountings = on_mountings
        self._watch = CameraWatch(source.wanted)
        self._subscriptions: dict[str, tuple[Subscription, QoSProfile]] = {}  # by topic
        self._infos: dict[str, tuple[Any, ...]] = {}
        self._models: dict[str, CameraModel] = {}
        self._synchronizer: RigSynchronizer[CameraFrame] | FilterSynchronizer[CameraFrame] | None = None
        self._newest_ns = 0
        self._idle_s = 0.0
        self._times = TimeWatch(source.parameters.stamp)

    @property
    def cameras(self) -> Cameras:
        """The rig as it is now: topics by camera name; empty until cameras are found."""
        return dict(self._watch.cameras)

    @property
    def deciding(self) -> bool:
        """Whether cameras have been found that are not in the rig yet: others may still come."""
        return self._watch.deciding

    def models(self) -> dict[str, CameraModel]:
        """The calibrations known now, by camera; a copy, for another thread."""
        return dict(self._models)

    def look(self, now_s: float) -> None:
        """Compare the ROS graph with the rig and follow it; call about twice a second."""
        published = {
            topic: kinds[0]
            for topic, kinds in self._node.get_topic_names_and_types()
            if kinds[0] in _KINDS and self._node.count_publishers(topic)
        }
        found = self._source.find(published)
        if self._watch.update(found, now_s):
            self._configure()
        for name, topics in self._watch.cameras.items():
            self._subscribe(topics.image, CompressedImage if topics.compressed else Image, self._image, name)
            if topics.info:
                self._subscribe(topics.info, CameraInfo, self._info, name)
        if self._tree is not None:
            # Again and again: somebody may have emptied the tree.
            for base, frame, base_from_camera in self._source.mountings(self._watch.cameras):
                self._tree.set_static(base, frame, base_from_camera)
        self._status.set_waiting(self._wanting(published, list(found)))

    def poll(self, elapsed_s: float) -> None:
        """Release sets whose cameras are late; call every `elapsed_s` seconds or so.

        Stamps are the clock of the synchroniser. When images stop, time goes on in steps of this call and not by
        any wall clock, so that a stalled machine does not mistake messages that wait in a queue for missing ones.
        """
        if self._synchronizer is not None and self._newest_ns:
            self._idle_s += elapsed_s
            self._deliver(self._synchronizer.poll(self._newest_ns + round(self._idle_s * 1e9)))

    def reset(self) -> None:
        """Forget the images that wait for others; the next ones begin anew."""
        self._newest_ns = 0
        self._times.forget()
        if self._synchronizer is not None:
            self._synchronizer.forget()

    def close(self) -> None:
        """Stop listening: all subscriptions are destroyed, what was heard is forgotten."""
        for subscription, _ in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self._synchronizer = None

    def _configure(self) -> None:
        cameras = self._watch.cameras
        self._node.get_logger().info("cameras: " + ", ".join(f"{name} ({t.image})" for name, t in cameras.items()))
        wanted = {topic for topics in cameras.values() for topic in (topics.image, topics.info) if topic}
        for topic in set(self._subscriptions) - wanted:
            self._node.destroy_subscription(self._subscriptions.pop(topic)[0])
        for name in set(self._models) - set(cameras):
            self._models.pop(name, None)
            self._infos.pop(name, None)
        self._status.set_cameras({name: (topics.image, topics.info) for name, topics in cameras.items()})
        given = self._source.models(cameras)
        self._models.update(given)
        for name, topics in cameras.items():
            lacking = self._source.lacking(name, topics)
            if name in given or lacking:
                self._status.calibration(name, lacking)
            if lacking:
                self._complain((name, "calibration"), lacking)
        for sentence in self._source.strangers(cameras):
            self._complain(("stranger", sentence), sentence)
        if self._on_mountings is not None:
            self._on_mountings(self._source.mountings(cameras))
        self._synchronizer = self._make_synchronizer()
        self.reset()

    def _make_synchronizer(self) -> RigSynchronizer[CameraFrame] | FilterSynchronizer[CameraFrame]:
        cameras = list(self._watch.cameras)
        if self._source.parameters.sync.policy == "message_filters":
            return FilterSynchronizer(cameras, self._source.parameters.max_skew, self._source.phases())
        return self._source.synchronizer(cameras)

    def _subscribe(self, topic: str, kind: Any, callback: Callable[[str, Any], None], camera: str) -> None:
        """Subscribe as the publishers offer; again if they have changed, for instance after a restart."""
        offered = qos.offered(self._node, topic, _DEPTHS[kind], self._source.parameters.qos)
        current = self._subscriptions.get(topic)
        if offered is None or (current is not None and qos.same(current[1], offered)):
            return
        if current is not None:
            self._node.destroy_subscription(current[0])
        events = incompatible_qos_callback(partial(self._mismatch, camera, topic))
        subscription = self._node.create_subscription(
            kind, topic, partial(callback, camera), offered, event_callbacks=events
        )
        self._subscriptions[topic] = (subscription, offered)

    def _image(self, camera: str, message: Any) -> None:
        synchronizer = self._synchronizer
        if synchronizer is None or camera not in self._watch.cameras:
            return
        frame = self._source.settle(self._frame(camera, message), self._node.get_clock().now().nanoseconds)
        self._status.image(camera, frame.stamp_ns, _size(frame), frame.encoding)
        if self._on_frame is not None:
            self._on_frame(frame)
        sets: Sets = []
        jumps, ignored = synchronizer.jumps, synchronizer.ignored
        if not self._times.is_empty(frame.stamp_ns):
            sets = synchronizer.push(camera, frame.stamp_ns, frame)
        used = synchronizer.ignored == ignored
        if synchronizer.jumps > jumps:
            self._jumped((frame.stamp_ns - self._newest_ns) * 1e-9)
        self._judge_stamp(frame, ignored=not used)
        if used and frame.stamp_ns > self._newest_ns:
            self._newest_ns, self._idle_s = frame.stamp_ns, 0.0
        self._deliver(sets)

    def _frame(self, camera: str, message: Any) -> CameraFrame:
        frame = camera_frame(camera, message)
        if is_readable(frame.encoding) or not hasattr(message, "encoding"):
            self._status.problem(camera, "encoding", "")
            return frame
        try:
            return converted(camera, message)
        except (MissingPackageError, DecodeError) as error:
            self._status.problem(camera, "encoding", str(error))
            self._complain((camera, "encoding"), str(error))
            return frame

    def _judge_stamp(self, frame: CameraFrame, *, ignored: bool) -> None:
        topic = self._watch.cameras[frame.camera].image
        problem = self._times.image(frame.camera, topic, frame.stamp_ns, ignored=ignored)
        self._status.problem(frame.camera, "stamp", problem)
        if problem:
            self._complain((frame.camera, "stamp"), f"camera '{frame.camera}' is left out: {problem}")

    def _jumped(self, seconds: float) -> None:
        self._newest_ns = 0
        self._times.forget()
        self._status.jumped(jump_sentence(seconds))
        self._on_jump(seconds)

    def _deliver(self, sets: Sets) -> None:
        now_s = time.monotonic()
        for frame_set in sets:
            if leap_s := self._times.leap_s(frame_set.stamp_ns, now_s):
                self._status.jumped(jump_sentence(leap_s))
                self._on_jump(leap_s)
        if sets:
            self._on_sets(sets)

    def _info(self, camera: str, message: Any) -> None:
        topics = self._watch.cameras.get(camera)
        if topics is None:
            return
        content = (
            message.width, message.height, tuple(message.k), tuple(message.d), message.distortion_model,
            message.binning_x, message.binning_y, tuple(message.p), str(message.roi),
        )  # fmt: skip
        # Compared as text: NaN is not equal to itself, and would be looked at again with every message.
        if repr(content) == repr(self._infos.get(camera)):
            return
        known = camera in self._infos
        self._infos[camera] = content
        try:
            self._models[camera] = camera_from_info(message, topics.rectified)
        except CalibrationError as error:
            self._models.pop(camera, None)
            sentence = f"{topics.info}: {error}"
            self._status.calibration(camera, sentence)
            self._complain((camera, "calibration"), f"camera '{camera}' is left out: {sentence}")
            return
        self._status.calibration(camera)
        if known:
            self._node.get_logger().info(f"camera '{camera}': the calibration has changed and is taken over")

    def _mismatch(self, camera: str, topic: str, event: Any) -> None:
        sentence = (
            f"{topic}: a publisher offers a QoS that this subscription cannot match "
            f"(policy {getattr(event, 'last_policy_kind', 'unknown')!s}), its messages do not arrive"
            + ("" if self._source.parameters.qos == "auto" else "; parameter qos: auto follows the publishers")
        )
        self._status.problem(camera, "qos", sentence)
        self._complain((topic, "qos"), sentence)

    def _wanting(self, published: dict[str, str], found: list[str]) -> list[str]:
        images = [topic for topic, kind in published.items() if not kind.endswith("CameraInfo")]
        out = [self._source.absent(entry, found, images) for entry in self._watch.missing]
        if not found and not self._watch.cameras and not out:
            out.append(
                f"a CameraInfo beside one of the image topics {', '.join(images)}" if images else "any image topic"
            )
        return out


def _size(frame: CameraFrame) -> tuple[int, int]:
    try:
        return image_size(frame)
    except DecodeError:
        return frame.width, frame.height  # no image that can be read: whoever decodes it says so
