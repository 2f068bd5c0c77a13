# SPDX-License-Identifier: Apache-2.0
"""Which times of a drive are in the dataset already: each is taken once, wherever its clock is set."""

from __future__ import annotations

from selfocc_training.dataset.odometer import PAUSE_S


class TakenTimes:
    """Spans of stamps (ns) that were taken, one for each stretch in which the clock ran on.

    A span ends where time jumps back, and where nothing is taken for `PAUSE_S`: a clock that is set forward, and back
    again later, has not been everywhere in between.
    """

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []
        self._open: tuple[int, int] | None = None
        self._newest = -1

    def close(self) -> None:
        """End the span that is being taken: time has jumped back."""
        if self._open is not None:
            self._spans.append(self._open)
            self._newest = max(self._newest, self._open[1])
            self._open = None

    def has(self, first_ns: int, last_ns: int) -> bool:
        """Whether anything from `first_ns` to `last_ns` was taken before the clock came here."""
        if first_ns > self._newest:
            return False
        return any(first_ns <= end and begin <= last_ns for begin, end in self._spans)

    def add(self, first_ns: int, last_ns: int) -> None:
        """Take note of a sample with stamps from `first_ns` to `last_ns`."""
        if self._open is not None and first_ns > self._open[1] + PAUSE_S * 1e9:
            self.close()
        begin, end = self._open or (first_ns, last_ns)
        self._open = min(begin, first_ns), max(end, last_ns)
