# SPDX-License-Identifier: Apache-2.0
"""Telling late data from a jump back in time, as when a recording is played in a loop."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum


class Arrival(Enum):
    """What a stamp is to the stream it arrived on."""

    NEW = "newer than everything on its stream"
    LATE = "repeated, or a little older than the newest on its stream"
    JUMP = "the first after time jumped back: everything known before belongs to another time"
    STALE = "a straggler of the time before the jump: to be ignored"


class Timeline:
    """Judges the stamps (ns) of several streams that share one clock, each known by a key.

    Time has jumped back when a stream's stamp lies more than `jump_back_s` before the newest one of the same stream,
    or when `returns` stamps in a row lie before it by less and go on from there in order: a loop may be shorter than
    `jump_back_s`, while messages that merely come late come between others. Streams are not compared with each other,
    for one may well lag behind another.

    When one stream has jumped, the others may still deliver what was under way: stamps about the last of their old
    time, and beyond everything in the new time, are STALE and do not count as yet another jump. That ends `jump_back_s`
    (or the length of a shorter jump) after a stream's last old stamp: if it goes on then, it was the other stream's
    clock that failed.
    """

    def __init__(self, jump_back_s: float, returns: int) -> None:
        self.jump_back_ns = round(jump_back_s * 1e9)
        self.jumps = 0
        self._returns = returns
        self._newest: dict[Hashable, int] = {}
        self._before_jump: dict[Hashable, int] = {}
        self._jump_ns = 0
        self._late: dict[Hashable, list[int]] = {}

    def judge(self, key: Hashable, stamp_ns: int) -> Arrival:
        """Take note of a stamp and say what it is."""
        old = self._before_jump.get(key)
        if old is not None:
            beyond_ns = stamp_ns - max(self._newest.values())
            if abs(stamp_ns - old) <= min(self.jump_back_ns, self._jump_ns) and 2 * beyond_ns > self._jump_ns:
                return Arrival.STALE
            del self._before_jump[key]
        newest = self._newest.get(key)
        if newest is None or stamp_ns > newest:
            self._newest[key] = stamp_ns
            self._late.pop(key, None)
            return Arrival.NEW
        late = self._late.setdefault(key, [])
        if late and stamp_ns <= late[-1]:
            late.clear()
        if stamp_ns < newest:
            late.append(stamp_ns)
        if stamp_ns >= newest - self.jump_back_ns and len(late) < self._returns:
            return Arrival.LATE
        self._jump_ns = newest - late[0]
        self._before_jump = {k: v for k, v in self._newest.items() if k != key}
        self._newest = {key: stamp_ns}
        self._late.clear()
        self.jumps += 1
        return Arrival.JUMP

    def newest(self, key: Hashable) -> int | None:
        """The newest stamp of a stream since the last jump."""
        return self._newest.get(key)

    def clear(self) -> None:
        """Forget all stamps; `jumps` goes on counting."""
        self._newest.clear()
        self._before_jump.clear()
        self._late.clear()
