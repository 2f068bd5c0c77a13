# SPDX-License-Identifier: Apache-2.0
"""Progress of long work on standard error: one line that counts, or a line now and then where nobody watches."""

from __future__ import annotations

import sys
import time


class Progress:
    """Counts: `progress(done, total)` shows "title: done of total, 12 s left".

    On a terminal the line is written over; elsewhere (a log, CI) a line appears every `quiet_s` seconds at most.
    """

    def __init__(self, title: str, unit: str = "", quiet_s: float = 10.0) -> None:
        self._title = title
        self._unit = f" {unit}" if unit else ""
        self._quiet_s = quiet_s
        self._start = time.monotonic()
        self._told = self._start
        self._terminal = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` is done."""
        now = time.monotonic()
        last = done >= total
        if not last and now - self._told < (0.2 if self._terminal else self._quiet_s):
            return
        self._told = now
        spent = now - self._start
        rest = f"in {spent:.0f} s" if last else f"about {spent / max(done, 1) * (total - done):.0f} s left"
        self._write(f"{self._title}: {done} of {total}{self._unit}, {rest}", last)

    def tell(self, text: str) -> None:
        """Show a line of text in place of a count."""
        now = time.monotonic()
        if self._terminal or now - self._told >= self._quiet_s:
            self._told = now
            self._write(f"{self._title}: {text}", not self._terminal)

    def close(self) -> None:
        """End the line that `tell` has written."""
        if self._terminal:
            sys.stderr.write("\n")
            sys.stderr.flush()

    def _write(self, line: str, last: bool) -> None:
        if self._terminal:
            sys.stderr.write(f"\r\033[K{line}" + ("\n" if last else ""))
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()
