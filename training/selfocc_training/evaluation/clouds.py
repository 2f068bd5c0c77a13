# SPDX-License-Identifier: Apache-2.0
"""LiDAR sweeps of a recording, each brought to where the vehicle was."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.poses import apply
from selfocc_ros.geometry.transforms import TransformError, TransformTree
from selfocc_ros.logs.convert import cloud_points, feed, stamp_ns
from selfocc_ros.logs.messages import POINT_CLOUD, TF
from selfocc_ros.logs.reader import Bag
from selfocc_training.evaluation.classes import ProtocolError

_FOREVER_S = 1e9


@dataclass(frozen=True, eq=False)
class Sweep:
    """One sweep.

    Attributes:
        stamp_ns: header stamp; all points are taken to be of this moment, as drivers that undo the motion leave them.
        origin: (3,) the sensor in the fixed frame, metres.
        points: (M, 3) in the fixed frame, metres.
    """

    stamp_ns: int
    origin: NDArray[np.float64]
    points: NDArray[np.float64]


class Clouds:
    """Sweeps of the LiDAR topic with most messages; read from the front, so ask for them in the order of time.

    Args:
        path: the recording.
        fixed_frame: frame of the odometry.

    Attributes:
        topic: the topic.
        stamps_ns: (S,) header stamps, sorted.

    Raises:
        ProtocolError: the recording holds no PointCloud2.
        BagError: it cannot be read.
    """

    def __init__(self, path: Path, fixed_frame: str) -> None:
        self.path, self.fixed_frame = path, fixed_frame
        with Bag(path) as bag:
            topics = bag.topics()
            clouds = {name: info.count for name, info in topics.items() if info.type == POINT_CLOUD and info.count}
            if not clouds:
                raise ProtocolError(f"{path} holds no LiDAR: expected a topic of sensor_msgs/PointCloud2")
            self.topic = max(clouds, key=lambda name: clouds[name])
            self.tree = _transforms(bag)
            stamps = [stamp_ns(message.msg.header.stamp) for message in bag.messages([self.topic])]
        self.stamps_ns: NDArray[np.int64] = np.unique(np.array(stamps, np.int64))
        steps = np.diff(self.stamps_ns)
        self._within_ns = 0.55 * float(np.median(steps)) if len(steps) else 5e7
        self._sweeps: Generator[Sweep, None, None] | None = None
        self._last: Sweep | None = None

    def stamp_near(self, time_ns: int) -> int | None:
        """Stamp of the sweep nearest to a time; None where none is within half of the time between two sweeps."""
        nearest = int(self.stamps_ns[np.argmin(np.abs(self.stamps_ns - time_ns))])
        return nearest if abs(nearest - time_ns) <= self._within_ns else None

    def sweep(self, stamp: int) -> Sweep | None:
        """The sweep of a stamp; None where the transforms do not tell its place."""
        if self._last is not None and self._last.stamp_ns == stamp:
            return self._last
        if self._sweeps is None or (self._last is not None and self._last.stamp_ns > stamp):
            self.close()
            self._sweeps = self._read()
        for sweep in self._sweeps:
            self._last = sweep
            if sweep.stamp_ns >= stamp:
                return sweep if sweep.stamp_ns == stamp else None
        self._sweeps = None
        return None

    def close(self) -> None:
        """Close the recording; the next sweep opens it again."""
        if self._sweeps is not None:
            self._sweeps.close()
        self._sweeps = self._last = None

    def _read(self) -> Generator[Sweep, None, None]:
        with Bag(self.path) as bag:
            for _, _, msg in bag.messages([self.topic]):
                stamp = stamp_ns(msg.header.stamp)
                try:
                    pose = self.tree.lookup(self.fixed_frame, str(msg.header.frame_id), stamp)
                except TransformError:
                    continue
                points = cloud_points(msg)
                points = points[np.isfinite(points).all(axis=1)]
                yield Sweep(stamp, pose[:3, 3], apply(pose, points))


def find_clouds(paths: Sequence[Path], fixed_frame: str) -> list[Clouds]:
    """Sweeps of recordings; those without LiDAR are passed over.

    Raises:
        ProtocolError: none of the recordings is there, or none has LiDAR.
    """
    there = [path for path in paths if path.exists()]
    if not there:
        missing = ", ".join(str(path) for path in paths) or "none"
        raise ProtocolError(f"the dataset's recordings ({missing}) are not there: name them with --bag")
    found, trouble = [], None
    for path in there:
        try:
            found.append(Clouds(path, fixed_frame))
        except ProtocolError as error:
            trouble = trouble or error
    if not found and trouble is not None:
        raise trouble
    return found


def _transforms(bag: Bag) -> TransformTree:
    """All transforms of a recording."""
    tree = TransformTree(history_s=_FOREVER_S, jump_back_s=_FOREVER_S)
    topics = [name for name, info in bag.topics().items() if info.type == TF]
    for topic, _, msg in bag.messages(topics):
        feed(tree, msg, static=topic.rpartition("/")[2] == "tf_static")
    return tree
