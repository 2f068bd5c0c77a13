# SPDX-License-Identifier: Apache-2.0
"""The working thread, without DDS: the first network, and others that take its place while it works."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pipeline_bench import MS, PipelineBench, a_predictor, a_set, wait_for

from selfocc_ros.errors import SelfOccError
from selfocc_ros.sensing.frames import RigSample


@pytest.fixture
def bench() -> Iterator[PipelineBench]:
    out = PipelineBench()
    yield out
    assert out.pipeline.stop(30.0)


def test_the_first_network_is_described_when_it_is_in_use(bench: PipelineBench):
    assert bench.pipeline.predictor is None
    assert bench.pipeline.start().result(30.0) == "the first"
    assert bench.pipeline.predictor is not None
    assert bench.status.snapshot().model == "the first"


def test_a_network_is_replaced_between_two_sets_while_the_old_one_works(bench: PipelineBench):
    bench.odometry(0, 1000)
    busy, go_on = bench.held()
    bench.pipeline.start().result(30.0)
    old = bench.pipeline.predictor
    bench.pipeline.offer([a_set(100)])
    assert busy.wait(30.0)
    seen: list[int] = []

    def second(sample: RigSample) -> Any:
        seen.append(sample.stamp_ns // MS)
        return bench.remember(sample)

    loaded = threading.Event()

    def load() -> Any:
        loaded.set()
        return a_predictor(second, "the second")

    future = bench.pipeline.replace(load)
    assert loaded.wait(30.0)
    assert bench.pipeline.predictor is old  # until the set in hand is done
    assert not future.done()
    go_on.set()
    assert future.result(30.0) == "the second"
    bench.pipeline.offer([a_set(200)])
    wait_for(lambda: bench.published == [100, 200])
    assert seen == [200]


def test_a_network_that_cannot_be_loaded_leaves_the_old_one_in_use(bench: PipelineBench):
    bench.odometry(0, 1000)
    bench.pipeline.start().result(30.0)

    def broken() -> Any:
        raise OSError("x.safetensors is damaged")

    with pytest.raises(SelfOccError, match=r"x\.safetensors is damaged"):
        bench.pipeline.replace(broken).result(30.0)
    bench.pipeline.offer([a_set(100)])
    wait_for(lambda: bench.published == [100])
    assert bench.status.snapshot().model == "the first"


def test_a_network_may_follow_a_first_one_that_could_not_be_loaded(bench: PipelineBench):
    def broken() -> Any:
        raise SelfOccError("no such file")

    bench.odometry(0, 1000)
    good, bench.load = bench.load, broken
    with pytest.raises(SelfOccError, match="no such file"):
        bench.pipeline.start().result(30.0)
    assert bench.status.snapshot().state == "error"
    assert bench.pipeline.replace(good).result(30.0) == "the first"
    bench.pipeline.offer([a_set(100)])
    wait_for(lambda: bench.published == [100])


def test_one_network_is_loaded_at_a_time(bench: PipelineBench):
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Any:
        begun.set()
        go_on.wait(30.0)
        return a_predictor(bench.remember, "slow")

    bench.pipeline.start().result(30.0)
    first = bench.pipeline.replace(slow)
    assert begun.wait(30.0)
    with pytest.raises(SelfOccError, match="another network is being loaded"):
        bench.pipeline.replace(bench.load).result(30.0)
    go_on.set()
    assert first.result(30.0) == "slow"
