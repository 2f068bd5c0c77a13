# SPDX-License-Identifier: Apache-2.0
"""The working thread, without DDS: newest set only, transforms waited for, nothing ends it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pipeline_bench import MS, PipelineBench, a_set, wait_for

from selfocc_ros.errors import SelfOccError
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.sensing.frames import RigSample


@pytest.fixture
def bench() -> Iterator[PipelineBench]:
    out = PipelineBench()
    yield out
    assert out.pipeline.stop(30.0)


def test_a_set_that_waits_is_replaced_by_a_newer_one(bench: PipelineBench):
    bench.odometry(0, 1000)
    busy, go_on = bench.held()
    bench.pipeline.start()
    bench.pipeline.offer([a_set(100)])
    assert busy.wait(30.0)
    for stamp in (200, 300, 400):
        bench.pipeline.offer([a_set(stamp)])
    go_on.set()
    wait_for(lambda: len(bench.published) == 2)
    assert bench.published == [100, 400]
    assert bench.status.snapshot().dropped == 2


def test_it_waits_for_a_transform_newer_than_the_image(bench: PipelineBench):
    bench.odometry(0, 80)
    bench.pipeline.start()
    bench.pipeline.offer([a_set(100)])
    time.sleep(0.1)
    assert bench.published == []
    bench.odometry(120)
    wait_for(lambda: bench.published == [100])
    np.testing.assert_allclose(bench.samples[0].rig.base_from_camera[0], np.eye(4), atol=1e-12)
    assert bench.told == []


def test_a_transform_that_stays_away_costs_the_set_and_is_told(bench: PipelineBench):
    bench.parameters = NodeParameters(tf_wait=0.02)
    bench.odometry(0, 80)
    bench.pipeline.start()
    bench.pipeline.offer([a_set(100)])
    wait_for(lambda: bool(bench.status.snapshot().cameras["front"].problems))
    assert bench.status.snapshot().waiting[0].startswith("camera 'front': ")
    assert "after the newest one known" in bench.told[0]
    bench.odometry(300)
    bench.pipeline.offer([a_set(200)])
    wait_for(lambda: bench.published == [200])
    assert not bench.status.snapshot().cameras["front"].problems


def test_a_camera_without_transform_is_waited_for_once_and_the_others_go_on(bench: PipelineBench):
    bench.parameters = NodeParameters(tf_wait=1.0)
    bench.odometry(0, 1000)
    bench.pipeline.start()
    begin = time.monotonic()
    bench.pipeline.offer([a_set(100, "front", "left")])
    wait_for(lambda: bench.published == [100])
    assert time.monotonic() - begin >= 1.0
    for stamp in range(200, 900, 100):
        bench.pipeline.offer([a_set(stamp, "front", "left")])
        wait_for(lambda stamp=stamp: bench.published[-1] == stamp)
    # Had it been waited for each time, this would have taken the sum.
    assert bench.status.snapshot().latency_ms["total"] < 1000.0
    assert [sample.rig.names for sample in bench.samples] == [("front",)] * 8
    assert [text for text in bench.told if "left_optical" in text] == bench.told[:1]
    bench.tree.set_static("base_link", "left_optical", np.eye(4))
    bench.pipeline.offer([a_set(900, "front", "left")])
    wait_for(lambda: bench.published[-1] == 900)
    assert bench.samples[-1].rig.names == ("front", "left")


def test_whatever_a_predictor_raises_costs_one_set_and_is_told_once_per_kind(bench: PipelineBench):
    bench.odometry(0, 1000)
    failures: list[Exception] = [SelfOccError("no image"), ValueError("boom"), ValueError("boom again")]

    def fails(sample: RigSample) -> Any:
        if failures:
            raise failures.pop(0)
        return bench.remember(sample)

    bench.predict = fails
    bench.pipeline.start()
    for stamp in (100, 200, 300, 400):
        left = len(failures)
        bench.pipeline.offer([a_set(stamp)])
        wait_for(lambda left=left: len(failures) < left or bool(bench.published))
    wait_for(lambda: bench.published == [400])
    assert bench.told == [
        "a set of images was skipped: no image",
        "a set of images was skipped: ValueError: boom",
    ]


def test_a_camera_that_the_predictor_could_not_use_is_told_and_forgiven(bench: PipelineBench):
    bench.odometry(0, 1000)
    bench.tree.set_static("base_link", "left_optical", np.eye(4))
    answers = [{"front": "camera 'front': the image is torn"}, {}]
    bench.predict = lambda _: SimpleNamespace(volume=None, timings_s={}, failed=answers.pop(0))
    bench.pipeline.start()
    bench.pipeline.offer([a_set(100, "front", "left")])
    wait_for(lambda: bench.published == [100])
    assert bench.told == ["camera 'front': the image is torn"]
    assert "camera 'front': the image is torn" in bench.status.snapshot().waiting
    bench.pipeline.offer([a_set(200, "front", "left")])
    wait_for(lambda: bench.published == [100, 200])
    assert not bench.status.snapshot().cameras["front"].problems


@pytest.mark.fault
@pytest.mark.parametrize("error", [SelfOccError("x.safetensors is damaged"), OSError("x.safetensors is damaged")])
def test_a_network_that_cannot_be_loaded_is_an_error_state_and_no_crash(bench: PipelineBench, error: Exception):
    def load() -> Any:
        raise error

    bench.load = load
    bench.pipeline.start()
    wait_for(lambda: bench.status.snapshot().state == "error")
    assert "x.safetensors is damaged" in bench.status.snapshot().reason
    bench.pipeline.offer([a_set(100)])


def test_a_jump_in_time_drops_the_set_that_waits(bench: PipelineBench):
    bench.odometry(0, 1000)
    busy, go_on = bench.held()
    bench.pipeline.start()
    bench.pipeline.offer([a_set(800)])
    assert busy.wait(30.0)
    bench.pipeline.offer([a_set(900)])
    bench.pipeline.forget()
    go_on.set()
    wait_for(lambda: bench.published == [800])
    wait_for(lambda: bench.forgotten == [1])
    bench.pipeline.offer([a_set(50)])
    wait_for(lambda: bench.published == [800, 50])
    assert bench.status.snapshot().dropped == 1


def test_a_jump_in_time_ends_the_wait_for_transforms_of_the_old_time(bench: PipelineBench):
    bench.odometry(0, 1000)
    bench.pipeline.start().result(30.0)
    begin = time.monotonic()
    bench.pipeline.offer([a_set(1001)])
    while bench.status.snapshot().dropped == 0:  # however often it takes until the wait has begun
        bench.pipeline.forget()
        time.sleep(0.01)
        assert time.monotonic() < begin + 30.0
    bench.pipeline.offer([a_set(500)])
    wait_for(lambda: bench.published == [500])
    assert not [text for text in bench.told if "skipped" in text]


@pytest.mark.fault
def test_odometry_that_stops_is_done_without_from_the_third_set_on(bench: PipelineBench):
    bench.parameters = NodeParameters(tf_wait=0.02)
    bench.odometry(0, 100)
    bench.pipeline.start().result(30.0)
    for stamp in (1000, 1100):
        bench.pipeline.offer([a_set(stamp)])
        wait_for(lambda stamp=stamp: bench.status.snapshot().skipped == (stamp - 900) // 100)
    bench.pipeline.offer([a_set(1200)])
    wait_for(lambda: bench.published == [1200])
    [trouble] = [text for text in bench.status.snapshot().waiting if "after the newest one known" in text]
    assert trouble.endswith("motion between the cameras' stamps is not accounted for")
    bench.odometry(2000)
    bench.pipeline.offer([a_set(1300)])
    wait_for(lambda: bench.published == [1200, 1300])
    assert bench.status.snapshot().waiting == ("a first message on /front/image, /front/info, /left/image, /left/info",)


def test_images_from_before_the_first_transform_are_left_out(bench: PipelineBench):
    bench.parameters = NodeParameters(tf_wait=0.6)
    bench.odometry(600, 1000)
    bench.pipeline.start().result(30.0)
    for number, stamp in enumerate((100, 200, 300, 400)):
        bench.pipeline.offer([a_set(stamp)])
        wait_for(lambda number=number: bench.status.snapshot().skipped == number + 1)
    bench.pipeline.offer([a_set(700)])
    wait_for(lambda: bench.published == [700])


@pytest.mark.fault
def test_a_transform_that_is_further_behind_than_the_wait_is_not_waited_for(bench: PipelineBench):
    bench.parameters = NodeParameters(tf_wait=5.0)
    bench.odometry(0, 100)
    bench.tree.set("base_link", "left_optical", 50 * MS, np.eye(4))
    bench.pipeline.start().result(30.0)
    bench.odometry(9_000, 15_000)
    begin = time.monotonic()
    for stamp in (10_000, 11_000, 12_000):
        bench.pipeline.offer([a_set(stamp, "front", "left")])
        wait_for(lambda stamp=stamp: bool(bench.published) and bench.published[-1] == stamp)
    assert time.monotonic() - begin < 5.0


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


@pytest.mark.fault
@pytest.mark.parametrize("error", [OutOfMemoryError("CUDA out of memory."), MemoryError(), ValueError("boom")])
def test_a_network_that_fails_again_and_again_is_an_error_and_tried_on(bench: PipelineBench, error: Exception):
    bench.odometry(0, 2_000)
    failures = 4
    tries: list[float] = []

    def fails(sample: RigSample) -> Any:
        tries.append(time.monotonic())
        if len(tries) <= failures:
            raise error
        return bench.remember(sample)

    bench.predict = fails
    bench.pipeline.start().result(30.0)
    for number in range(failures):
        bench.pipeline.offer([a_set(100 * number + 100)])
        wait_for(lambda number=number: bench.status.snapshot().skipped > number)
    snapshot = bench.status.snapshot()
    assert snapshot.state == "error"
    assert snapshot.reason.startswith("the network failed 4 times in a row, the next try is in 0.2 s: ")
    assert type(error).__name__ in snapshot.reason
    assert ("out of memory" in snapshot.reason) == (not isinstance(error, ValueError))
    bench.pipeline.offer([a_set(1000)])
    wait_for(lambda: bench.published == [1000])
    assert bench.status.snapshot().state == "running"
    assert tries[4] - tries[3] >= 0.2
    assert len(bench.told) == 1


def test_the_rate_can_be_limited(bench: PipelineBench):
    bench.parameters = NodeParameters(max_rate=5.0)
    bench.odometry(0, 1000)
    bench.pipeline.start().result(30.0)
    begin = time.monotonic()
    bench.pipeline.offer([a_set(100)])
    wait_for(lambda: bench.published == [100])
    for stamp in (200, 300, 400):
        bench.pipeline.offer([a_set(stamp)])
    wait_for(lambda: len(bench.published) == 2)
    assert time.monotonic() - begin >= 0.2
    assert bench.published == [100, 400]


def test_what_each_output_took_is_told_with_the_stages(bench: PipelineBench):
    bench.odometry(0, 1000)
    bench.pipeline.start()
    bench.pipeline.offer([a_set(100)])
    wait_for(lambda: bench.published == [100])
    wait_for(lambda: "publish.grid" in bench.status.snapshot().latency_ms)
    assert bench.status.snapshot().latency_ms["publish.grid"] == 250.0


def test_disabled_it_drops_what_comes_and_then_goes_on(bench: PipelineBench):
    bench.odometry(0, 1000)
    bench.pipeline.start().result(30.0)
    bench.pipeline.enabled = False
    assert bench.status.snapshot().state == "disabled"
    bench.pipeline.offer([a_set(100)])
    bench.pipeline.enabled = True
    bench.pipeline.offer([a_set(200)])
    wait_for(lambda: bench.published == [200])
    assert bench.status.snapshot().dropped == 0


@pytest.mark.fault
def test_too_few_cameras_that_can_be_used_are_not_published(bench: PipelineBench):
    bench.parameters = NodeParameters(min_cameras=2, tf_wait=0.02)
    bench.odometry(0, 1000)
    bench.predict = lambda _: SimpleNamespace(volume=None, timings_s={}, failed={"front": "the image is torn"})
    bench.pipeline.start().result(30.0)
    bench.pipeline.offer([a_set(100, "front", "left")])  # there is no transform for the left one
    wait_for(lambda: bench.status.snapshot().skipped == 1)
    bench.tree.set_static("base_link", "left_optical", np.eye(4))
    bench.pipeline.offer([a_set(200, "front", "left")])  # one image is torn
    wait_for(lambda: bench.status.snapshot().skipped == 2)
    reason = "only 1 of its cameras can be used (parameter min_cameras is 2): the image is torn"
    bench.status.image("front", 200 * MS)
    assert bench.status.snapshot().reason == reason
    assert bench.published == []
    bench.predict = bench.remember
    bench.pipeline.offer([a_set(300, "front", "left")])
    wait_for(lambda: bench.published == [300])
