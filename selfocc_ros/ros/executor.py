# SPDX-License-Identifier: Apache-2.0
"""An executor with one thread for all that is short, so that no callback that takes seconds keeps the others waiting.

Callbacks of a `SlowGroup` (loading a network, writing files) run on threads of their own, one at a time for each
group. rclpy's way to await something in a callback turns the executor in circles until it is there, and its
executor with many threads costs more per message; this is the pattern of its custom-executor example.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.context import Context
from rclpy.executors import Executor, ShutdownException, TimeoutException

T = TypeVar("T")

_LOOK_S = 0.05


class SlowGroup(MutuallyExclusiveCallbackGroup):
    """Its callbacks may take seconds; one at a time."""


class NodeExecutor(Executor):
    """Runs callbacks on the thread that calls `spin_once`, those of slow groups on threads of their own.

    Args:
        context: as for any executor.
        survive: gets what a slow callback raises.
    """

    def __init__(self, context: Context, survive: Callable[[Exception], None]) -> None:
        super().__init__(context=context)
        self._survive = survive
        self._slow: dict[Any, threading.Thread] = {}
        self._slow_lock = threading.Lock()
        self._spinning: int | None = None

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for one callback and run it, or have it run."""
        self._spinning = threading.get_ident()
        try:
            handler, entity, _ = self.wait_for_ready_callbacks(timeout_sec=timeout_sec)
        except (ShutdownException, TimeoutException):
            return
        if isinstance(getattr(entity, "callback_group", None), SlowGroup):
            # It is offered again until its thread has begun with it.
            self._begin(handler, lambda: _run(handler))
        else:
            _run(handler)

    def background(self, work: Callable[[], None]) -> None:
        """Run `work` on a thread of its own, as a slow callback."""
        self._begin(object(), work)

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` on the spinning thread, where no callback runs beside it, and return what it returns.

        What it raises is raised here. Where nobody spins it runs on this thread.
        """
        if self._nobody_spins() or self._spinning == threading.get_ident():
            return work()
        results: list[T] = []
        errors: list[BaseException] = []
        begun, done = threading.Lock(), threading.Event()

        def run() -> None:
            if not begun.acquire(blocking=False):
                return
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001  it belongs to who called
                errors.append(error)
            done.set()

        self.create_task(run)
        while not done.wait(_LOOK_S):
            if self._nobody_spins():
                run()
        if errors:
            raise errors[0]
        return results[0]

    def _nobody_spins(self) -> bool:
        return self._spinning is None

    def end_spinning(self) -> None:
        """From now on nobody spins: who waits in `call` goes on by itself."""
        self._spinning = None

    def join(self, timeout_s: float) -> bool:
        """Wait for the slow callbacks that have begun; True if all have ended."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._slow_lock:
                threads = list(self._slow.values())
            if not threads:
                return True
            if time.monotonic() >= deadline:
                return False
            threads[0].join(max(0.0, min(_LOOK_S, deadline - time.monotonic())))

    def _begin(self, key: Any, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001  a callback that fails must not end a live node
                self._survive(error)
            finally:
                with self._slow_lock:
                    del self._slow[key]

        with self._slow_lock:
            if key not in self._slow:
                self._slow[key] = threading.Thread(target=run, name="selfocc-slow", daemon=True)
                self._slow[key].start()


def _run(handler: Any) -> None:
    """Run what rclpy hands out, and raise what it raised."""
    handler()
    if handler.done():
        handler.result()
