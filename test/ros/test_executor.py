# SPDX-License-Identifier: Apache-2.0
"""The executor: what is slow keeps nobody waiting, and work can be handed to the spinning thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import rclpy
from rclpy.node import Node
from std_srvs.srv import Trigger

from selfocc_ros.ros.domain import own_domain
from selfocc_ros.ros.executor import NodeExecutor, SlowGroup

GUARD_S = 30.0


class Bench:
    """A node in this executor, spun by a thread of its own."""

    def __init__(self, context: rclpy.Context) -> None:
        self.errors: list[Exception] = []
        self.node = Node("bench", context=context)
        self.executor = NodeExecutor(context, self.errors.append)
        self.executor.add_node(self.node)
        self.ticks = 0
        self.node.create_timer(0.01, self._tick)
        self._end = threading.Event()
        self.thread = threading.Thread(target=self._spin)

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + GUARD_S
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.005)

    def close(self) -> None:
        self._end.set()
        if self.thread.ident is not None:
            self.thread.join()
        self.executor.end_spinning()
        assert self.executor.join(GUARD_S)
        self.executor.shutdown(timeout_sec=0.0)
        self.node.destroy_node()

    def _tick(self) -> None:
        self.ticks += 1

    def _spin(self) -> None:
        while not self._end.is_set():
            self.executor.spin_once(timeout_sec=0.05)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with own_domain() as domain:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=domain)
        out = Bench(context)
        yield out
        out.close()
        context.shutdown()


def test_a_slow_service_keeps_nobody_waiting_and_is_answered_once(bench: Bench):
    go_on, calls = threading.Event(), []

    def slow(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        calls.append(threading.current_thread().name)
        assert go_on.wait(GUARD_S)
        response.success = True
        return response

    bench.node.create_service(Trigger, "slow", slow, callback_group=SlowGroup())
    client = bench.node.create_client(Trigger, "slow")
    bench.thread.start()
    bench.until(client.service_is_ready, "the service")
    answers = [client.call_async(Trigger.Request()) for _ in range(2)]
    bench.until(lambda: calls, "the call")
    before = bench.ticks
    bench.until(lambda: bench.ticks > before + 10, "ticks beside it")
    assert not answers[0].done()
    assert len(calls) == 1, "one at a time"
    go_on.set()
    bench.until(lambda: all(answer.done() for answer in answers), "both answers")
    assert calls == ["selfocc-slow"] * 2
    assert bench.executor.join(GUARD_S)


def test_work_is_done_on_the_spinning_thread(bench: Bench):
    assert bench.executor.call(threading.get_ident) == threading.get_ident(), "nobody spins yet"
    bench.thread.start()
    bench.until(lambda: bench.ticks, "ticks")
    assert bench.executor.call(threading.get_ident) == bench.thread.ident
    with pytest.raises(ZeroDivisionError):
        bench.executor.call(lambda: 1 // 0)
    assert bench.errors == []


def test_who_waits_for_a_thread_that_stops_spinning_goes_on_by_itself(bench: Bench):
    bench.thread.start()
    bench.until(lambda: bench.ticks, "ticks")
    held, stopped = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        stopped.wait(GUARD_S)

    bench.executor.create_task(hold)
    assert held.wait(GUARD_S)
    results: list[int] = []
    caller = threading.Thread(target=lambda: results.append(bench.executor.call(threading.get_ident)))
    caller.start()
    bench.executor.end_spinning()
    caller.join(GUARD_S)
    assert results == [caller.ident]
    stopped.set()


@pytest.mark.fault
def test_what_fails_in_the_background_is_told(bench: Bench):
    bench.thread.start()
    bench.executor.background(lambda: 1 // 0)
    bench.until(lambda: bench.errors, "the error")
    assert isinstance(bench.errors[0], ZeroDivisionError)
    assert bench.executor.join(GUARD_S)
