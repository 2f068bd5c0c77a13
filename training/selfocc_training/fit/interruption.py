# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM, taken between two steps so that nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingStopped(KeyboardInterrupt):
    """Training was asked to stop, and has saved where it was.

    Attributes:
        step: steps that are done.
        path: the saved state.
        signum: the signal that asked, SIGTERM where it came to another process.
    """

    def __init__(self, step: int, path: Path, signum: int) -> None:
        super().__init__(f"stopped after step {step}, saved in {path}")
        self.step, self.path, self.signum = step, path, signum or signal.SIGTERM


class StopRequest:
    """Whether this process was asked to stop.

    Attributes:
        signum: the signal that asked; 0 if none has.
    """

    def __init__(self) -> None:
        self.signum = 0

    def __bool__(self) -> bool:
        return self.signum != 0


@contextmanager
def stop_requests(enabled: bool) -> Iterator[StopRequest]:
    """Collect the first SIGINT or SIGTERM instead of dying of it; the second does what it always did.

    Signals can be taken in the main thread alone; elsewhere they stay whose they are.
    """
    request = StopRequest()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(signum: int, _frame: FrameType | None) -> None:
        request.signum = signum
        restore()

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
