# SPDX-License-Identifier: Apache-2.0
"""`sync.policy: message_filters`: sets of images by ROS' own ApproximateTimeSynchronizer.

For those who want exactly its choice. It gives out whole sets only, so one silent camera means none at all; it may mix
two sweeps where its slop is large; and its Python does not notice that time has jumped back, which is noticed here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from selfocc_ros.geometry.timeline import Arrival, Timeline
from selfocc_ros.ros.optional import message_filters
from selfocc_ros.ros.stamps import time_message
from selfocc_ros.sensing.sync import JUMP_BACK_S, RETURNS, FrameSet, forward_camera

Item = TypeVar("Item")

QUEUE = 5
"""Frames kept per camera: the search tries combinations of them, so few."""


class FilterSynchronizer(Generic[Item]):
    """Has the methods of `RigSynchronizer`.

    Args:
        cameras: names of all cameras.
        slop_s: largest time between the first and the last image of a set (seconds).
        phases_s: when each camera fires (seconds): taken off its stamps before they are compared.

    Attributes:
        ignored: frames that were repeated, out of order, or stragglers of the time before a jump.

    Raises:
        MissingPackageError: there is no message_filters.
    """

    def __init__(self, cameras: Collection[str], slop_s: float, phases_s: Mapping[str, float] | None = None) -> None:
        self._package = message_filters()
        self._cameras = tuple(cameras)
        self._reference = forward_camera(self._cameras)
        self._slop_s = slop_s
        self._phases_ns = {name: round((phases_s or {}).get(name, 0.0) * 1e9) for name in self._cameras}
        self._timeline = Timeline(JUMP_BACK_S, RETURNS)
        self._found: list[FrameSet[Item]] = []
        self.ignored = 0
        self._begin()

    @property
    def jumps(self) -> int:
        """How often time has jumped back so far."""
        return self._timeline.jumps

    def push(self, camera: str, stamp_ns: int, item: Item) -> list[FrameSet[Item]]:
        """Take a frame; returns the sets that it completes."""
        arrival = self._timeline.judge(camera, stamp_ns)
        if arrival in (Arrival.LATE, Arrival.STALE):
            self.ignored += 1
            return []
        if arrival is Arrival.JUMP:
            self._begin()
        stamp = time_message(stamp_ns - self._phases_ns[camera])
        self._inputs[camera].signalMessage(
            SimpleNamespace(header=SimpleNamespace(stamp=stamp), stamp_ns=stamp_ns, item=item)
        )
        found, self._found = self._found, []
        return found

    def poll(self, now_ns: int) -> list[FrameSet[Item]]:  # noqa: ARG002  it waits for ever for whole sets
        """Nothing: no set is given out without all of its cameras."""
        return []

    def forget(self) -> None:
        """Start afresh: drop the frames that wait."""
        self._timeline.clear()
        self._begin()

    def _begin(self) -> None:
        self._inputs = {name: self._package.SimpleFilter() for name in self._cameras}
        # No other argument: the fourth one has changed its meaning between distributions.
        self._filter = self._package.ApproximateTimeSynchronizer(
            fs=list(self._inputs.values()), queue_size=QUEUE, slop=self._slop_s
        )
        self._filter.registerCallback(self._complete)

    def _complete(self, *messages: Any) -> None:
        # Only taken note of: this is called with a lock held that an exception would leave locked for ever.
        entries = dict(zip(self._cameras, messages, strict=True))
        items = {name: entry.item for name, entry in entries.items()}
        self._found.append(FrameSet(entries[self._reference].stamp_ns, items))
