# SPDX-License-Identifier: Apache-2.0
"""Samples out of a recording: the offline path of training, replay and evaluation.

The synchroniser, the transform tree and `gather_sample` are those of the live node, so both see the same images and
poses. Where the node waits for transforms newer than an image, the recording's transforms are read ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from selfocc_ros.geometry.cameras import CalibrationError, CameraModel
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.logs.convert import camera_frame, camera_model, feed, stamp_ns
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.records import BagError, TopicInfo
from selfocc_ros.node_parameters import AUTO, NodeParameters
from selfocc_ros.sensing.discovery import CameraTopics
from selfocc_ros.sensing.frames import CameraFrame, RigSample
from selfocc_ros.sensing.gather import gather_sample
from selfocc_ros.sensing.layout import IMAGE_TYPES
from selfocc_ros.sensing.rig_source import RigSource
from selfocc_ros.sensing.sync import FrameSet, RigSynchronizer

TF_AHEAD_S = 2.0
"""Transforms are read this far ahead of the images, in receive time: more than the node ever waits for one."""

_HISTORY_S = 15.0
_JUMP_BACK_NS = 1_000_000_000
"""As the synchroniser and the transform tree have it."""

_JUMP_ON_NS = round((_HISTORY_S - 2.0 * TF_AHEAD_S) * 1e9)
"""Further on than this, transforms that are read ahead drop what the images still need."""

_TF_TYPE = "tf2_msgs/msg/TFMessage"


class SampleReader:
    """Reads one recording as the node would hear it.

    Args:
        path: a recording that `Bag` reads.
        source: what parameters and files say of the cameras; None is the node's defaults.

    Attributes:
        topics, duration_s: what the recording holds, and its length.
        cameras: topics by camera name, known from the start.
        models: calibrations by camera, as of the last set.
        tree: the transforms.
        calibration_problems: one sentence per camera that has no CameraInfo, or one that cannot be used.
        transform_problems: one sentence per broken transform (parent, child).
        damage: what of the recording could not be read, once `samples` has come to its end.

    Raises BagError if nothing is readable, or a camera that is asked for is not found.
    """

    def __init__(self, path: str | Path, source: RigSource | None = None) -> None:
        self.path = Path(path)
        self.source = source or RigSource()
        values = self.source.parameters
        self.base_frame, self.fixed_frame, self.max_skew_s = values.base_frame, values.fixed_frame, values.max_skew
        with Bag(self.path) as bag:
            self.topics, self.duration_s = bag.topics(), bag.duration_s
            self.damage = bag.damage
        self.cameras = _cameras(self.source, self.topics, self.path)
        self.tree = TransformTree(history_s=_HISTORY_S)
        for base, frame, base_from_camera in self.source.mountings(self.cameras):
            self.tree.set_static(base, frame, base_from_camera)
        self.models: dict[str, CameraModel] = self.source.models(self.cameras)
        lacking = {name: self.source.lacking(name, topics) for name, topics in self.cameras.items()}
        self.calibration_problems: dict[str, str] = {name: reason for name, reason in lacking.items() if reason}
        self.transform_problems: dict[tuple[str, str], str] = {}
        self._sync: RigSynchronizer[CameraFrame] | None = None
        if self.cameras:
            self._sync = self.source.synchronizer(self.cameras)

    def samples(
        self,
        stamps: Collection[int] | None = None,
        on_frame: Callable[[CameraFrame, int], None] | None = None,
        keep_empty: bool = False,
        on_transform: Callable[[str, str, int, int], None] | None = None,
    ) -> Iterator[RigSample]:
        """The samples in the order of their stamps; a reader can be walked once.

        Args:
            stamps: only samples with these reference stamps (ns); the others are passed over at little cost.
            on_frame: called with each image as it comes, and its receive time.
            keep_empty: also samples of which no camera can be used (`problems` says why); the node skips them.
            on_transform: called with (parent, child, stamp, receive time) of each transform that changes with time.
        """
        if self._sync is None:
            return
        wanted = None if stamps is None else frozenset(stamps)
        image_topics = {topics.image: name for name, topics in self.cameras.items()}
        info_topics = {topics.info: name for name, topics in self.cameras.items() if topics.info}
        with ExitStack() as stack:
            bag, ahead = stack.enter_context(Bag(self.path)), stack.enter_context(Bag(self.path))
            self._prefetch(bag, info_topics)
            transforms = self._transforms_ahead(ahead, self._sync, on_transform)
            for topic, receive_ns, msg in bag.messages([*image_topics, *info_topics]):
                if topic in info_topics:
                    self._calibrate(info_topics[topic], topic, msg)
                    continue
                frame = self.source.settle(camera_frame(image_topics[topic], msg), receive_ns)
                if on_frame is not None:
                    on_frame(frame, receive_ns)
                for frame_set in self._sync.push(frame.camera, frame.stamp_ns, frame):
                    transforms(receive_ns, frame_set.stamp_ns)
                    yield from self._gather(frame_set, wanted, keep_empty)
            for frame_set in self._sync.flush():
                transforms(None, frame_set.stamp_ns)
                yield from self._gather(frame_set, wanted, keep_empty)
            transforms(None, None)
            self.damage = self.damage or bag.damage

    def _gather(
        self, frame_set: FrameSet[CameraFrame], wanted: frozenset[int] | None, keep_empty: bool
    ) -> Iterator[RigSample]:
        if wanted is not None and frame_set.stamp_ns not in wanted:
            return
        sample = gather_sample(frame_set, self.models, {}, self.tree, self.base_frame, self.fixed_frame)
        if sample.frames or keep_empty:
            yield sample

    def _prefetch(self, bag: Bag, info_topics: Mapping[str, str]) -> None:
        """Learn each camera's first calibration, so that an image recorded just before it is not lost."""
        unknown = set(info_topics)
        for topic, _, msg in bag.messages(list(info_topics)):
            if topic in unknown:
                self._calibrate(info_topics[topic], topic, msg)
                unknown.discard(topic)
            if not unknown:
                return

    def _calibrate(self, camera: str, topic: str, msg: Any) -> None:
        try:
            self.models[camera] = camera_model(msg, topic, self.cameras[camera].rectified)
            self.calibration_problems.pop(camera, None)
        except CalibrationError as error:
            self.models.pop(camera, None)
            self.calibration_problems[camera] = str(error)

    def _transforms_ahead(
        self, bag: Bag, sync: RigSynchronizer[CameraFrame], on_transform: Callable[[str, str, int, int], None] | None
    ) -> Callable[[int | None, int | None], None]:
        """Feeds all static transforms now; returns what feeds the others up to TF_AHEAD_S after a receive time.

        That takes the receive time, None at the recording's end, and the stamp of the set that is to have poses, None
        for all that is left. Where time jumps back, or on beyond the history, the tree forgets what came before. What
        follows a jump is therefore held back until the images have jumped as well, or until TF_AHEAD_S after it,
        should only the transforms have jumped.
        """
        topics = [name for name, info in bag.topics().items() if info.type == _TF_TYPE]
        static = [name for name in topics if name.rpartition("/")[2] == "tf_static"]
        for _, _, msg in bag.messages(static):
            self._feed(msg, static=True)
        timed = bag.messages([name for name in topics if name not in static])
        waiting: list[Any] = []
        newest: dict[str, int] = {}
        ahead_ns = round(TF_AHEAD_S * 1e9)

        def must_wait(item: Any, stamps: Mapping[str, int], receive_ns: int | None, set_ns: int) -> bool:
            if receive_ns is not None and abs(item.receive_ns - receive_ns) > ahead_ns:
                return bool(item.receive_ns > receive_ns)
            steps = {child: stamp - newest.get(child, stamp) for child, stamp in stamps.items()}
            back = any(step < -_JUMP_BACK_NS for step in steps.values())
            on = any(min(step, stamps[child] - set_ns) > _JUMP_ON_NS for child, step in steps.items())
            return on or (back and self.tree.jumps >= sync.jumps)

        def advance(receive_ns: int | None, set_ns: int | None) -> None:
            while True:
                item = waiting.pop() if waiting else next(timed, None)
                if item is None:
                    return
                stamps = {t.child_frame_id: stamp_ns(t.header.stamp) for t in item.msg.transforms}
                if set_ns is not None and must_wait(item, stamps, receive_ns, set_ns):
                    waiting.append(item)
                    return
                newest.update(stamps)
                self._feed(item.msg, static=False)
                if on_transform is not None:
                    for transform in item.msg.transforms:
                        parent, at_ns = transform.header.frame_id, stamp_ns(transform.header.stamp)
                        on_transform(parent, transform.child_frame_id, at_ns, item.receive_ns)

        return advance

    def _feed(self, msg: Any, static: bool) -> None:
        for parent, child, error in feed(self.tree, msg, static):
            sentence = f"the transform {parent} <- {child} is left out: {error}"
            self.transform_problems.setdefault((parent, child), sentence)


def iterate_samples(
    path: str | Path,
    cameras: str | Sequence[str] = "auto",
    base_frame: str = "base_link",
    fixed_frame: str = "odom",
    max_skew_s: float = 0.055,
    max_wait_s: float = 0.2,
    stamps: Collection[int] | None = None,
) -> Iterator[RigSample]:
    """The samples of a recording in the order of their stamps: what the node would work on if it were fast enough.

    Args:
        path: a recording: rosbag2 directory, .mcap, .db3 or ROS 1 .bag.
        cameras: "auto", or names, image topics or namespaces of cameras.
        base_frame, fixed_frame, max_skew_s, max_wait_s: as the node's parameters.
        stamps: only samples with these reference stamps (ns).

    Raises:
        BagError: if the recording cannot be read or has no (such) camera.
    """
    parameters = NodeParameters(
        cameras=AUTO if cameras == "auto" else (cameras,) if isinstance(cameras, str) else tuple(cameras),
        base_frame=base_frame,
        fixed_frame=fixed_frame,
        max_skew=max_skew_s,
        max_wait=max_wait_s,
    )
    reader = SampleReader(path, RigSource(parameters))
    if not reader.cameras:
        raise BagError(f"{path} has no camera: expected an image topic with a CameraInfo beside it")
    yield from reader.samples(stamps)


def _cameras(source: RigSource, topics: Mapping[str, TopicInfo], path: Path) -> dict[str, CameraTopics]:
    """The cameras asked for; those of the node's parameters `preset` and `cameras`."""
    found = source.find({name: info.type for name, info in topics.items() if info.count or source.layout is None})
    if source.layout is not None and not found:
        images = sorted(name for name, info in topics.items() if info.type in IMAGE_TYPES and info.count)
        wanted = ", ".join(camera.image for camera in source.layout.cameras.values())
        raise BagError(
            f"{path} has none of the layout's images ({wanted}); its image topics are {', '.join(images) or 'none'}"
        )
    chosen, missing = source.choose(found)
    if missing:
        raise BagError(f"{path} has no camera {missing[0]!r}, found {', '.join(found) or 'none'}")
    return chosen
