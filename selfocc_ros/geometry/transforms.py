# SPDX-License-Identifier: Apache-2.0
"""A tree of coordinate frames over time, with the semantics of tf2.

Each frame hangs below one parent, by a static transform or by a history of timed ones; between two of these a
transform is interpolated, outside them it is refused. Unlike tf2's Python buffer it knows no clock and never waits,
so it behaves the same live, from a recording and in a test. Stamps are integer nanoseconds and taken literally: 0
is a time like any other, the latest is asked for with None.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.poses import PoseError, check_pose, interpolate, invert
from selfocc_ros.geometry.timeline import Arrival, Timeline

FloatArray = NDArray[np.float64]
_Names = set[str]  # inside TransformTree, `set` is its method


class TransformError(SelfOccError):
    """A transform that cannot be given or taken; one of the subclasses, or bad input to the tree."""


class UnknownFrameError(TransformError):
    """A frame that no transform has named yet."""


class DisconnectedError(TransformError):
    """Two frames that are both known but have no common ancestor."""


class ExtrapolationError(TransformError):
    """The time asked for lies outside what is known.

    Attributes:
        future: True if newer transforms would help (wait for them), False if the history is gone.
        distance_s: how far outside, in seconds.
    """

    def __init__(self, message: str, future: bool, distance_s: float) -> None:
        super().__init__(message)
        self.future = future
        self.distance_s = distance_s


_GAP_PERIODS = 5.0
_RECENT = 64  # interpolated poses that are kept: a set of images asks for the same few stamps over and over
_RETURNS = 10  # several nodes may send one transform, each with a delay of its own and several at a time


class _History:
    """Timed transforms of one child frame, in order of their stamps; the parent may change on the way."""

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.parents: list[str] = []
        self.poses: list[FloatArray] = []
        self._between: dict[int, FloatArray] = {}

    def insert(self, stamp_ns: int, parent: str, pose: FloatArray, history_ns: int) -> None:
        if self.stamps and stamp_ns < self.stamps[-1] - history_ns:
            return
        at = bisect_left(self.stamps, stamp_ns)
        if at < len(self.stamps) and self.stamps[at] == stamp_ns:
            return  # as in tf2, the first transform for a stamp stays
        if at < len(self.stamps):
            self._between.clear()
        self.stamps.insert(at, stamp_ns)
        self.parents.insert(at, parent)
        self.poses.insert(at, pose)
        expired = bisect_left(self.stamps, self.stamps[-1] - history_ns)
        if expired:
            del self.stamps[:expired], self.parents[:expired], self.poses[:expired]

    def gap_ns(self, stamp_ns: int) -> int:
        """Time between the transforms around a stamp; 0 at one, beyond the history, and where that is usual."""
        after = bisect_left(self.stamps, stamp_ns)
        if after in (0, len(self.stamps)) or self.stamps[after] == stamp_ns:
            return 0
        gap = self.stamps[after] - self.stamps[after - 1]
        usual = (self.stamps[-1] - self.stamps[0]) / (len(self.stamps) - 1)
        return gap if gap > _GAP_PERIODS * usual else 0

    def at(self, child: str, stamp_ns: int) -> tuple[str, FloatArray]:
        """Parent and parent_from_child at a time within the history."""
        after = bisect_left(self.stamps, stamp_ns)
        if after < len(self.stamps) and self.stamps[after] == stamp_ns:
            return self.parents[after], self.poses[after]
        if after == 0 or after == len(self.stamps):
            future = after > 0
            known = self.stamps[-1 if future else 0]
            distance_s = abs(stamp_ns - known) * 1e-9
            raise ExtrapolationError(
                f"the transform {self.parents[-1 if future else 0]} <- {child} at {stamp_ns / 1e9:.3f} s lies "
                f"{distance_s:.3f} s {'after the newest' if future else 'before the oldest'} one known "
                f"({known / 1e9:.3f} s)",
                future,
                distance_s,
            )
        before = after - 1
        if self.parents[before] != self.parents[after]:
            return self.parents[before], self.poses[before]  # hung elsewhere in between: tf2 keeps the earlier one
        if stamp_ns not in self._between:
            if len(self._between) >= _RECENT:
                self._between.clear()
            span = self.stamps[after] - self.stamps[before]
            alpha = (stamp_ns - self.stamps[before]) / span
            self._between[stamp_ns] = interpolate(self.poses[before], self.poses[after], alpha)
        return self.parents[before], self._between[stamp_ns]


class TransformTree:
    """Transforms between frames at any known time. Thread-safe.

    Args:
        history_s: how far back (seconds) timed transforms are kept behind the newest of the same child frame.
        jump_back_s: a stamp that lies further than this behind the newest of the same child frame is a jump back in
            time (a recording that starts again): all timed transforms are dropped, static ones stay. So is the tenth
            in a row that is not as far behind.

    A child frame that has once been given a static transform stays static: timed ones for it are ignored, in
    whichever order they come. Repeated stamps are ignored. A leading slash in a frame name is dropped.
    """

    def __init__(self, history_s: float = 10.0, jump_back_s: float = 1.0) -> None:
        self._history_ns = round(history_s * 1e9)
        self._timeline = Timeline(jump_back_s, returns=_RETURNS)
        self._static: dict[str, tuple[str, FloatArray]] = {}
        self._timed: dict[str, _History] = {}
        self._names = _Names()
        self._lock = threading.RLock()

    @property
    def jumps(self) -> int:
        """How often time has jumped back so far."""
        return self._timeline.jumps

    def set_static(self, parent: str, child: str, parent_from_child: ArrayLike) -> None:
        """Hang `child` below `parent` for all times; `parent_from_child` is (4,4).

        Raises:
            TransformError: an empty name, a frame below itself, or a matrix that is no rigid transform.
        """
        parent, child, pose = self._check(parent, child, parent_from_child)
        with self._lock:
            self._static[child] = (parent, pose)
            self._timed.pop(child, None)
            self._names.update((parent, child))

    def set(self, parent: str, child: str, stamp_ns: int, parent_from_child: ArrayLike) -> None:
        """Hang `child` below `parent` at one time; `parent_from_child` is (4,4).

        Raises:
            TransformError: as in `set_static`.
        """
        parent, child, pose = self._check(parent, child, parent_from_child)
        with self._lock:
            if child in self._static:
                return
            arrival = self._timeline.judge(child, stamp_ns)
            if arrival is Arrival.STALE:
                return
            if arrival is Arrival.JUMP:
                self._forget_timed()
            self._names.update((parent, child))
            self._timed.setdefault(child, _History()).insert(stamp_ns, parent, pose, self._history_ns)

    def clear(self) -> None:
        """Forget all timed transforms; static ones stay."""
        with self._lock:
            self._forget_timed()
            self._timeline.clear()

    def frames(self) -> tuple[str, ...]:
        """Names of all known frames, sorted."""
        with self._lock:
            return tuple(sorted(self._names))

    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> FloatArray:
        """`target_from_source` (4,4): takes points in `source` to `target`, both at the time `stamp_ns`.

        None means the latest time that all timed transforms between the two have reached.

        Raises:
            UnknownFrameError, DisconnectedError, ExtrapolationError: see there.
        """
        target, source = _strip(target), _strip(source)
        with self._lock:
            self._require(target, source)
            if target == source:
                return np.eye(4)
            if stamp_ns is None:
                stamp_ns = self._latest_common(target, source)
            return self._lookup(target, source, stamp_ns)

    def lookup_between(
        self, target: str, target_stamp_ns: int, source: str, source_stamp_ns: int, fixed: str
    ) -> FloatArray:
        """`target_from_source` (4,4) between two times, through a frame that does not move in between.

        Where `target` was at its stamp and `source` at its own, both seen from `fixed`: a camera at the time of its
        image in the vehicle at the time of a reference, say.

        Raises:
            UnknownFrameError, DisconnectedError, ExtrapolationError: see there.
        """
        with self._lock:
            fixed_from_source = self.lookup(fixed, source, source_stamp_ns)
            return self.lookup(target, fixed, target_stamp_ns) @ fixed_from_source

    def lookup_each(
        self, target: str, target_stamp_ns: int, sources: Iterable[tuple[str, int]], fixed: str
    ) -> list[FloatArray | TransformError]:
        """`lookup_between` for several (source, stamp in ns) at once, at half the cost; an error in place of a pose."""
        found: list[FloatArray | TransformError] = []
        with self._lock:
            target_from_fixed = self._lookup_or_error(target, fixed, target_stamp_ns)
            for source, stamp_ns in sources:
                fixed_from_source = self._lookup_or_error(fixed, source, stamp_ns)
                if isinstance(fixed_from_source, TransformError):
                    found.append(fixed_from_source)
                elif isinstance(target_from_fixed, TransformError):
                    found.append(target_from_fixed)
                else:
                    found.append(target_from_fixed @ fixed_from_source)
        return found

    def _lookup_or_error(self, target: str, source: str, stamp_ns: int) -> FloatArray | TransformError:
        try:
            return self.lookup(target, source, stamp_ns)
        except TransformError as error:
            return error

    def gap_ns(self, target: str, source: str, stamp_ns: int) -> int:
        """The longest gap over which `lookup` interpolates a transform between two frames at a stamp, or 0.

        A gap is longer than five mean periods of its transform: one that always comes seldom has none.

        Raises:
            UnknownFrameError, DisconnectedError: see there.
        """
        target, source = _strip(target), _strip(source)
        with self._lock:
            self._require(target, source)
            path = self._common_path(target, source)
            return max((self._timed[child].gap_ns(stamp_ns) for child in path if child in self._timed), default=0)

    def _forget_timed(self) -> None:
        self._timed.clear()
        self._names = {name for child, (parent, _) in self._static.items() for name in (child, parent)}

    def _lookup(self, target: str, source: str, stamp_ns: int) -> FloatArray:
        from_source, failed_above_source = self._climb(source, stamp_ns, {target: np.eye(4)})
        if target in from_source:
            return from_source[target].copy()
        from_target, failed_above_target = self._climb(target, stamp_ns, from_source)
        top = next(reversed(from_target))
        if top in from_source:
            return np.asarray(invert(from_target[top]) @ from_source[top])
        self._common_path(target, source)  # raises where no time would help
        # What lies above a common ancestor does not matter, so a climb that failed is an error only now.
        failure = failed_above_source or failed_above_target
        if failure is not None:
            raise failure
        raise DisconnectedError(f"frames '{target}' and '{source}' are not connected at {stamp_ns / 1e9:.3f} s")

    def _climb(
        self, frame: str, stamp_ns: int, goals: dict[str, FloatArray]
    ) -> tuple[dict[str, FloatArray], ExtrapolationError | None]:
        """Poses of `frame` in itself and its ancestors, bottom up to the first goal, the root or a gap in time."""
        pose = np.eye(4)
        above = {frame: pose}
        while frame not in goals:
            try:
                link = self._parent(frame, stamp_ns)
            except ExtrapolationError as error:
                return above, error
            if link is None:
                break
            frame, parent_from_frame = link
            if frame in above:
                raise TransformError(f"the frames {', '.join(above)} form a loop")
            pose = parent_from_frame @ pose
            above[frame] = pose
        return above, None

    def _parent(self, child: str, stamp_ns: int) -> tuple[str, FloatArray] | None:
        if child in self._static:
            return self._static[child]
        history = self._timed.get(child)
        return None if history is None else history.at(child, stamp_ns)

    def _latest_common(self, target: str, source: str) -> int:
        timed = [self._timed[child].stamps[-1] for child in self._common_path(target, source) if child in self._timed]
        return min(timed, default=0)

    def _common_path(self, target: str, source: str) -> list[str]:
        """Child frames of the edges between two frames, by each frame's newest parent."""
        up_target, up_source = self._ancestors(target), self._ancestors(source)
        for depth, frame in enumerate(up_source):
            if frame in up_target:
                return up_source[:depth] + up_target[: up_target.index(frame)]
        raise DisconnectedError(
            f"frames '{target}' and '{source}' are not connected: '{target}' belongs to the tree of "
            f"'{up_target[-1]}', '{source}' to that of '{up_source[-1]}'"
        )

    def _ancestors(self, frame: str) -> list[str]:
        chain = [frame]
        while True:
            if frame in self._static:
                frame = self._static[frame][0]
            elif frame in self._timed:
                frame = self._timed[frame].parents[-1]
            else:
                return chain
            if frame in chain:
                raise TransformError(f"the frames {', '.join(chain)} form a loop")
            chain.append(frame)

    def _require(self, *frames: str) -> None:
        for frame in frames:
            if frame not in self._names:
                names = ", ".join(sorted(self._names)) or "none"
                raise UnknownFrameError(f"frame '{frame}' is unknown, known frames: {names}")

    @staticmethod
    def _check(parent: str, child: str, pose: ArrayLike) -> tuple[str, str, FloatArray]:
        parent, child = _strip(parent), _strip(child)
        if not parent or not child:
            raise TransformError(f"a transform needs two frame names, found parent '{parent}' and child '{child}'")
        if parent == child:
            raise TransformError(f"frame '{child}' cannot be its own parent")
        try:
            return parent, child, np.array(check_pose(pose, f"the transform {parent} <- {child}"))
        except PoseError as error:
            raise TransformError(str(error)) from error


def _strip(frame: str) -> str:
    return frame.lstrip("/")
