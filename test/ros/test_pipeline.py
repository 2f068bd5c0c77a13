# SPDX-License-Identifier: Apache-2.0
"""The working thread, without DDS: newest set only, transforms waited for, nothing ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros.complaints import Complaints
from selfocc_ros.ros.pipeline import Pipeline
from selfocc_ros.ros.status import Status
from selfocc_ros.sensing.frames import CameraFrame, RigSample
from selfocc_ros.sensing.sync import FrameSet

MS = 1_000_000
CAMERA = CameraModel(8, 6, np.array([[8.0, 0, 3.5], [0, 8.0, 2.5], [0, 0, 1]]))


def a_set(stamp_ms: int, *names: str) -> FrameSet[CameraFrame]:
    names = names or ("front",)
    frames = {name: CameraFrame(name, stamp_ms * MS, f"{name}_optical", "jpeg", b"") for name in names}
    return FrameSet(stamp_ms * MS, frames, ())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.002)


def a_predictor(predict: Callable[[RigSample], Any], name: str) -> Any:
    return SimpleNamespace(predict=predict, describe=lambda: name)


class Bench:
    """A pipeline whose predictor is `self.predict`, which may be replaced; collects what comes out."""

    def __init__(self, **parameters: Any) -> None:
        self.parameters = NodeParameters(**{"tf_wait": 5.0, **parameters})
        self.tree = TransformTree()
        self.tree.set_static("base_link", "front_optical", np.eye(4))
        self.told: list[str] = []
        self.samples: list[RigSample] = []
        self.published: list[int] = []
        self.forgotten: list[int] = []  # after how many were published
        self.status = Status()
        self.status.set_cameras({"front": ("/front/image", "/front/info"), "left": ("/left/image", "/left/info")})
        self.load: Callable[[], Any] = lambda: a_predictor(lambda sample: self.predict(sample), "the first")
        self.predict: Callable[[RigSample], Any] = self.remember
        self.pipeline = Pipeline(
            load=lambda: self.load(),
            models=lambda: {"front": CAMERA, "left": CAMERA},
            tree=self.tree,
            parameters=lambda: self.parameters,
            publish=self.publish,
            status=self.status,
            complain=Complaints(self.told.append),
            forget=lambda: self.forgotten.append(len(self.published)),
        )

    def publish(self, _: Any, sample: RigSample) -> dict[str, float]:
        self.published.append(sample.stamp_ns // MS)
        return {"grid": 0.25}

    def remember(self, sample: RigSample) -> Any:
        self.samples.append(sample)
        return SimpleNamespace(volume=None, timings_s={}, failed={})

    def odometry(self, *stamps_ms: int) -> None:
        for stamp_ms in stamps_ms:
            pose = np.eye(4)
            pose[0, 3] = stamp_ms * 0.01
            self.tree.set("odom", "base_link", stamp_ms * MS, pose)


@pytest.fixture
def bench() -> Iterator[Bench]:
    out = Bench()
    yield out
    assert out.pipeline.stop(30.0)


def test_a_set_that_waits_is_replaced_by_a_newer_one(bench: Bench):
    bench.odometry(0, 1000)
    busy, go_on = threading.Event(), threading.Event()

    def slow(sample: RigSample) -> Any:
        busy.set()
        go_on.wait(30.0)
        return bench.remember(sample)

    bench.predict = slow
    bench.pipeline.start()
    bench.pipeline.offer([a_set(100)])
    assert busy.wait(30.0)
    for stamp in (200, 300, 400):
        bench.pipeline.offer([a_set(stamp)])
    go_on.set()
    wait_for(lambda: len(bench.published) == 2)
    assert bench.published == [100, 400]
    assert bench.status.snapshot().dropped == 2


def test_it_waits_for_a_transform_newer_than_the_image(bench: Bench):
    bench.odometry(0, 80)
    bench.pipeline.start()
    bench.pipeline.offer([a_set(100)])
    time.sleep(0.1)
    assert bench.published == []
    bench.odometry(120)
    wait_for(lambda: bench.published == [100])
    np.testing.assert_allclose(bench.samples[0].rig.base_from_camera[0], np.eye(4), atol=1e-12)
    assert bench.told == []


def test_a_transform_that_stays_away_costs_the_set_and_is_told(bench: Bench):
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


def test_a_camera_without_transform_is_waited_for_once_and_the_others_go_on(bench: Bench):
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


def test_whatever_a_predictor_raises_costs_one_set_and_is_told_once_per_kind(bench: Bench):
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


def test_a_camera_that_the_predictor_could_not_use_is_told_and_forgiven(bench: Bench):
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
def test_a_network_that_cannot_be_loaded_is_an_error_state_and_no_crash(bench: Bench, error: Exception):
    def load() -> Any:
        raise error

    bench.load = load
    bench.pipeline.start()
    wait_for(lambda: bench.status.snapshot().state == "error")
    assert "x.safetensors is damaged" in bench.status.snapshot().reason
    bench.pipeline.offer([a_set(100)])


def test_a_jump_in_time_drops_the_set_that_waits(bench: Bench):
    bench.odometry(0, 1000)
    busy, go_on = threading.Event(), threading.Event()

    def slow(sample: RigSample) -> Any:
        busy.set()
        go_on.wait(30.0)
        return bench.remember(sample)

    bench.predict = slow
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


def test_a_jump_in_time_ends_the_wait_for_transforms_of_the_old_time(bench: Bench):
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
def test_odometry_that_stops_is_done_without_from_the_third_set_on(bench: Bench):
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


def test_images_from_before_the_first_transform_are_left_out(bench: Bench):
    bench.parameters = NodeParameters(tf_wait=0.6)
    bench.odometry(600, 1000)
    bench.pipeline.start().result(30.0)
    for number, stamp in enumerate((100, 200, 300, 400)):
        bench.pipeline.offer([a_set(stamp)])
        wait_for(lambda number=number: bench.status.snapshot().skipped == number + 1)
    bench.pipeline.offer([a_set(700)])
    wait_for(lambda: bench.published == [700])


@pytest.mark.fault
def test_a_transform_that_is_further_behind_than_the_wait_is_not_waited_for(bench: Bench):
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
def test_a_network_that_fails_again_and_again_is_an_error_and_tried_on(bench: Bench, error: Exception):
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


def test_the_rate_can_be_limited(bench: Bench):
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


def test_what_each_output_took_is_told_with_the_stages(bench: Bench):
    bench.odometry(0, 1000)
    bench.pipeline.start()
    bench.pipeline.offer([a_set(100)])
    wait_for(lambda: bench.published == [100])
    wait_for(lambda: "publish.grid" in bench.status.snapshot().latency_ms)
    assert bench.status.snapshot().latency_ms["publish.grid"] == 250.0


def test_the_first_network_is_described_when_it_is_in_use(bench: Bench):
    assert bench.pipeline.predictor is None
    assert bench.pipeline.start().result(30.0) == "the first"
    assert bench.pipeline.predictor is not None
    assert bench.status.snapshot().model == "the first"


def test_a_network_is_replaced_between_two_sets_while_the_old_one_works(bench: Bench):
    bench.odometry(0, 1000)
    busy, go_on = threading.Event(), threading.Event()

    def slow(sample: RigSample) -> Any:
        busy.set()
        go_on.wait(30.0)
        return bench.remember(sample)

    bench.predict = slow
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


def test_a_network_that_cannot_be_loaded_leaves_the_old_one_in_use(bench: Bench):
    bench.odometry(0, 1000)
    bench.pipeline.start().result(30.0)

    def broken() -> Any:
        raise OSError("x.safetensors is damaged")

    with pytest.raises(SelfOccError, match=r"x\.safetensors is damaged"):
        bench.pipeline.replace(broken).result(30.0)
    bench.pipeline.offer([a_set(100)])
    wait_for(lambda: bench.published == [100])
    assert bench.status.snapshot().model == "the first"


def test_a_network_may_follow_a_first_one_that_could_not_be_loaded(bench: Bench):
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


def test_one_network_is_loaded_at_a_time(bench: Bench):
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


def test_disabled_it_drops_what_comes_and_then_goes_on(bench: Bench):
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
def test_too_few_cameras_that_can_be_used_are_not_published(bench: Bench):
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
