# SPDX-License-Identifier: Apache-2.0
"""Signals: the first asks, the second insists."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from selfocc_training.fit.interruption import stop_requests


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """As in a terminal: a shell's background jobs ignore it, and so would all that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
def test_the_first_ctrl_c_asks_and_the_second_insists() -> None:
    with stop_requests(True) as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        assert stop.signum == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_stay_whose_they_are_outside_the_main_thread_and_where_nothing_is_saved() -> None:
    handlers = []

    def inside(enabled: bool) -> None:
        with stop_requests(enabled):
            handlers.append(signal.getsignal(signal.SIGTERM))

    inside(False)
    thread = threading.Thread(target=inside, args=(True,))
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)] * 2
