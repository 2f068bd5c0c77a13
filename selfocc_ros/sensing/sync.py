# SPDX-License-Identifier: Apache-2.0
"""Which frames of several cameras belong together.

The answer depends on stamps alone, never on when things arrive, so a vehicle, a recording and a test get the same
sets. The rule, for a frame of the reference camera at time t:

1. A camera's frame is expected at e = t + phase (0 unless phases are given). Frames within max_skew of e can be
   chosen, and of these only such as lie in [e - 0.54 P, e + 0.46 P), where P is the period of the camera or of the
   reference, whichever is longer (median of the last gaps). A window one period long holds one frame of a camera as
   fast as the reference: if that one is lost, its neighbour, which belongs to the sweep before or after, is not taken.
2. The frame nearest to the middle of that window is chosen. The middle lies 0.04 P before e, for where the nearest
   frame changes from the one after to the one before, jitter would make the choice flicker, and the window puts this
   place where no known rig is: six synchronous cameras are at 0; nuScenes' ring lies from -0.09 P to +0.42 P about its
   front camera (so the next sweep is 0.04 P from being mixed in, on either side); PandaSet's back camera fires exactly
   half a period from its front camera, and the earlier of the two frames is taken, reliably.
3. A chosen frame is final as soon as no later one could be nearer: when the camera has reached e, or before, when the
   next frame would have to come sooner than after the shortest of the last gaps. Cameras that fire before the
   reference are thus not waited for, not even for their next frame.
4. A set is given out when all cameras are final, or when max_wait has passed in stamp time; then those without a
   frame are missing. Sets leave in the order of their stamps. No frame serves two sets while its camera is as fast as
   the reference.
5. A camera that has been silent for `silence_s` is not waited for, so that a dead one costs no time; when it is back,
   it is missing from one set at most.

If the reference camera falls silent for so long, the next camera of the list takes its place until it is back, and its
sets wait for max_wait, for the reference may still come. All this is measured from each stream's own stamps, so a late
start changes nothing but the first sets, which may lack what came before the start.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.timeline import Arrival, Timeline

Item = TypeVar("Item")

_LATE_EDGE = 0.46
_EARLY_EDGE = 0.54
_GAPS = 8
_SAME_RATE = 0.2
_FOREIGN_CLOCK_NS = 5_000_000_000
JUMP_BACK_S = 1.0
RETURNS = 3  # encoders with several threads may swap two images, but not three


class SyncError(SelfOccError, ValueError):
    """A synchroniser that cannot work: no cameras, an unknown one, a negative time."""


@dataclass(frozen=True, eq=False)
class FrameSet(Generic[Item]):
    """Frames that belong together.

    Attributes:
        stamp_ns: stamp of the reference frame.
        items: what was pushed, by camera, in the order of the cameras.
        missing: cameras without a frame.
    """

    stamp_ns: int
    items: dict[str, Item]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Frame(Generic[Item]):
    stamp_ns: int
    item: Item
    period_ns: int  # median of the gaps before it, 0 while there are none
    shortest_ns: int  # shortest of these gaps


class _Stream(Generic[Item]):
    """What is remembered of one camera."""

    def __init__(self, rank: int, phase_ns: int) -> None:
        self.rank = rank
        self.phase_ns = phase_ns
        self.frames: deque[_Frame[Item]] = deque()
        self.newest: int | None = None
        self.used: int | None = None
        self._gaps: deque[int] = deque(maxlen=_GAPS)

    def add(self, stamp_ns: int, item: Item) -> _Frame[Item]:
        if self.newest is not None:
            self._gaps.append(stamp_ns - self.newest)
        self.newest = stamp_ns
        ordered = sorted(self._gaps)
        period = ordered[len(ordered) // 2] if ordered else 0
        frame = _Frame(stamp_ns, item, period, ordered[0] if ordered else 0)
        self.frames.append(frame)
        return frame

    def choose(self, expected_ns: int, reference_period_ns: int, max_skew_ns: int) -> tuple[_Frame[Item] | None, bool]:
        """The frame for the expected time so far, and whether it is final."""
        best: _Frame[Item] | None = None
        best_distance = 0.0
        for frame in self.frames:
            offset = frame.stamp_ns - expected_ns
            if abs(offset) > max_skew_ns:
                continue
            # While no period is known, the one that max_skew is made for: the window must not be symmetric then either.
            period = max(frame.period_ns, reference_period_ns) or max_skew_ns / _EARLY_EDGE
            if not -_EARLY_EDGE * period <= offset < _LATE_EDGE * period:
                continue
            as_fast = abs(frame.period_ns - reference_period_ns) <= _SAME_RATE * reference_period_ns
            if as_fast and self.used is not None and frame.stamp_ns <= self.used:
                continue
            distance = abs(offset + 0.5 * (_EARLY_EDGE - _LATE_EDGE) * period)
            if 2.0 * distance <= frame.shortest_ns:
                return frame, True
            if best is None or distance < best_distance:
                best, best_distance = frame, distance
        return best, self.newest is not None and self.newest >= expected_ns


@dataclass(frozen=True, order=True)
class _Pending:
    """A frame that asks for a set."""

    stamp_ns: int
    rank: int
    period_ns: int


def forward_camera(cameras: Sequence[str]) -> str:
    """The camera that looks forward, as far as names tell: the shortest one with `front` or `forward` in it.

    Its frames mark the moment that matters to a driver. Without such a name it is the first of `cameras`.
    """
    named = [camera for camera in cameras if "front" in camera.lower() or "forward" in camera.lower()]
    return min(named, key=len) if named else cameras[0]


class RigSynchronizer(Generic[Item]):
    """Finds the frames that belong together; see the module's docstring for the rule. Not thread-safe.

    Args:
        cameras: names of all cameras.
        reference: the camera whose frames ask for sets; None is `forward_camera(cameras)`.
        max_skew_s: how far a frame may lie from its expected stamp (seconds).
        max_wait_s: how long after its stamp a set is given out at the latest (seconds, in stamp time).
        phases_s: when each camera fires (seconds), relative to anything they have in common; 0 where not given.
        min_cameras: sets with fewer frames are not given out.
        silence_s: after how long a silence a camera is not waited for, and another one is the reference.
        jump_back_s: a stamp this far behind the newest of its own camera is a jump back in time: everything is
            forgotten, and sets under way are dropped. So is a third one in a row that is not as far behind. Repeated
            and single older stamps are ignored.

    Attributes:
        ignored: number of frames that were repeated, out of order, or stragglers of the time before a jump.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        reference: str | None = None,
        max_skew_s: float = 0.055,
        max_wait_s: float = 0.2,
        phases_s: Mapping[str, float] | None = None,
        min_cameras: int = 1,
        silence_s: float = 1.0,
        jump_back_s: float = JUMP_BACK_S,
    ) -> None:
        if not cameras or len(set(cameras)) != len(cameras):
            raise SyncError(f"a synchroniser needs camera names that all differ, found {list(cameras)}")
        phases = dict(phases_s or {})
        unknown = ({reference} if reference is not None else set()).union(phases) - set(cameras)
        if unknown:
            raise SyncError(f"unknown camera {', '.join(sorted(unknown))}, expected one of {', '.join(cameras)}")
        for name, value in (("max_skew", max_skew_s), ("max_wait", max_wait_s)):
            if not value >= 0.0:
                raise SyncError(f"{name} must be 0 or more seconds, found {value}")
        self._cameras = tuple(cameras)
        self._phases_ns = {camera: round(phases.get(camera, 0.0) * 1e9) for camera in cameras}
        reference = reference or forward_camera(cameras)
        self._ranked = sorted(cameras, key=lambda camera: camera != reference)  # the reference first, others in order
        self._max_skew_ns = round(max_skew_s * 1e9)
        self._max_wait_ns = round(max_wait_s * 1e9)
        self._silence_ns = round(silence_s * 1e9)
        self._min_cameras = min_cameras
        self._timeline = Timeline(jump_back_s, returns=RETURNS)
        self.ignored = 0
        self._streams: dict[str, _Stream[Item]] = {}
        self._by_rank: list[_Stream[Item]] = []
        self._pending: list[_Pending] = []
        self._begin_ns: int | None = None  # stamp of the first frame of all
        self._reset()

    @property
    def jumps(self) -> int:
        """How often time has jumped back so far."""
        return self._timeline.jumps

    def forget(self) -> None:
        """Start afresh: drop the sets under way and all that is known of the streams."""
        self._timeline.clear()
        self._reset()

    def push(self, camera: str, stamp_ns: int, item: Item) -> list[FrameSet[Item]]:
        """Take a frame; returns the sets that it completes, in the order of their stamps.

        Raises:
            SyncError: the camera is not one of the cameras.
        """
        if camera not in self._streams:
            raise SyncError(f"unknown camera {camera}, expected one of {', '.join(self._cameras)}")
        arrival = self._timeline.judge(camera, stamp_ns)
        if arrival in (Arrival.LATE, Arrival.STALE):
            self.ignored += 1
            return []
        if arrival is Arrival.JUMP:
            self._reset()
        stream = self._streams[camera]
        frame = stream.add(stamp_ns, item)
        self._begin_ns = stamp_ns if self._begin_ns is None else min(stamp_ns, self._begin_ns)
        # A camera of higher rank is alive: those that stood in for it at this time, or run ahead of it, step back.
        self._pending = [p for p in self._pending if p.rank <= stream.rank or p.stamp_ns + self._max_wait_ns < stamp_ns]
        if not self._has_superior(stream.rank, stamp_ns):
            insort(self._pending, _Pending(stamp_ns, stream.rank, frame.period_ns))
        released = self._release(None, False)
        self._forget_old()
        return released

    def poll(self, now_ns: int) -> list[FrameSet[Item]]:
        """Sets that have waited long enough at the time `now_ns`, of the clock that stamps are taken from.

        A time more than 5 s after the newest stamp is of another clock (a recording played without /clock) and
        ignored.
        """
        return self._release(now_ns, False)

    def flush(self) -> list[FrameSet[Item]]:
        """All sets still under way, as they are: a recording has ended."""
        return self._release(None, True)

    def _reset(self) -> None:
        self._streams = {
            camera: _Stream(self._ranked.index(camera), self._phases_ns[camera]) for camera in self._cameras
        }
        self._by_rank = [self._streams[camera] for camera in self._ranked]
        self._pending = []
        self._begin_ns = None

    def _has_superior(self, rank: int, stamp_ns: int) -> bool:
        """Whether a camera of higher rank has been heard of lately enough to be the reference itself."""
        return any(
            other.newest is not None and other.newest >= stamp_ns - self._silence_ns for other in self._by_rank[:rank]
        )

    def _release(self, now_ns: int | None, everything: bool) -> list[FrameSet[Item]]:
        released = []
        while self._pending:
            pending = self._pending[0]
            # A set cannot leave before an earlier one, so one that has waited long enough pushes the others out.
            expired = everything or any(self._expired(p, now_ns) for p in self._pending)
            # A stand-in waits for its whole time: the reference may still come.
            if pending.rank > 0 and not expired:
                break
            frame_set = self._assemble(pending, expired)
            if frame_set is None:
                break
            del self._pending[0]
            if len(frame_set.items) >= self._min_cameras:
                released.append(frame_set)
        return released

    def _expired(self, pending: _Pending, now_ns: int | None) -> bool:
        deadline = pending.stamp_ns + self._max_wait_ns
        stamps = [stream.newest for stream in self._by_rank if stream.newest is not None]
        if now_ns is not None and deadline <= now_ns <= max(stamps) + _FOREIGN_CLOCK_NS:
            return True
        # A camera whose clock runs far ahead of the reference's must not end all waiting.
        own = self._by_rank[pending.rank].newest or pending.stamp_ns
        return any(deadline <= stamp <= own + self._silence_ns for stamp in stamps)

    def _assemble(self, pending: _Pending, expired: bool) -> FrameSet[Item] | None:
        reference = self._by_rank[pending.rank]
        chosen: dict[str, _Frame[Item]] = {}
        for camera, stream in self._streams.items():
            if stream is reference:
                chosen[camera] = next(f for f in stream.frames if f.stamp_ns == pending.stamp_ns)
                continue
            expected = pending.stamp_ns + stream.phase_ns - reference.phase_ns
            frame, final = stream.choose(expected, pending.period_ns, self._max_skew_ns)
            if not final and not expired and not self._is_silent(stream, pending.stamp_ns):
                return None
            if frame is not None:
                chosen[camera] = frame
        for camera, frame in chosen.items():
            self._streams[camera].used = frame.stamp_ns
        missing = tuple(camera for camera in self._cameras if camera not in chosen)
        return FrameSet(pending.stamp_ns, {camera: frame.item for camera, frame in chosen.items()}, missing)

    def _is_silent(self, stream: _Stream[Item], stamp_ns: int) -> bool:
        """Whether a camera has long sent nothing, at a time of others."""
        last = stream.newest if stream.newest is not None else self._begin_ns
        return last is not None and last < stamp_ns - self._silence_ns

    def _forget_old(self) -> None:
        """Keep no frame that no set can want any more, nor any for long: memory is bounded whatever stamps do."""
        reference = self._by_rank[0].newest
        for stream in self._by_rank:
            if stream.newest is None:
                continue
            wanted = stream.newest - self._max_wait_ns
            if reference is not None:
                wanted = max(wanted, min(reference, stream.newest))
            if self._pending:
                wanted = min(wanted, self._pending[0].stamp_ns)
            wanted = max(wanted, stream.newest - self._max_wait_ns - self._silence_ns)
            spread = max(abs(stream.phase_ns - other.phase_ns) for other in self._by_rank)
            while stream.frames and stream.frames[0].stamp_ns < wanted - self._max_skew_ns - spread:
                stream.frames.popleft()
