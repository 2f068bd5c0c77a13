# SPDX-License-Identifier: Apache-2.0
"""Tells each kind of problem once, however often it occurs. No rclpy in here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

TELL_AGAIN_S = 30.0


class Complaints:
    """Tells each kind of problem once and then at most every `TELL_AGAIN_S`, however often it occurs."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._told: dict[object, float] = {}
        self._lock = threading.Lock()

    def __call__(self, key: object, sentence: str) -> None:
        """Tell `sentence` unless something with this `key` was told lately."""
        now = self._clock()
        with self._lock:
            if now - self._told.get(key, float("-inf")) < TELL_AGAIN_S:
                return
            self._told[key] = now
        self._tell(sentence)
