# SPDX-License-Identifier: Apache-2.0
"""What the node says of itself."""

from __future__ import annotations

import pytest

from selfocc_ros.ros.status import STALE_S, TELL_AGAIN_S, WINDOW_S, Complaints, Status


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def status(clock: FakeClock) -> Status:
    out = Status(clock)
    out.model_ready()
    out.set_cameras({"front": ("/front/image", "/front/camera_info")})
    return out


def test_states_follow_what_happens(clock: FakeClock):
    status = Status(clock)
    assert status.snapshot().state == "loading"
    status.model_ready()
    assert status.snapshot().state == "discovering"
    status.set_cameras({"front": ("/front/image", "/front/camera_info")})
    assert status.snapshot().state == "ready"
    status.image("front", 5)
    assert status.snapshot().state == "waiting"
    status.published({"total": 0.1})
    assert status.snapshot().state == "running"
    clock.now_s += WINDOW_S + 0.1
    assert status.snapshot().state == "ready"


def test_a_network_that_cannot_be_loaded_is_an_error_with_its_reason(status: Status):
    status.model_failed("no such file")
    snapshot = status.snapshot()
    assert (snapshot.state, snapshot.reason) == ("error", "no such file")


def test_what_a_camera_lacks_is_named_by_topic_and_goes_away(status: Status):
    assert status.snapshot().waiting == ["a first message on /front/image, /front/camera_info"]
    status.image("front", 5)
    status.calibration("front", "it holds NaN")
    assert status.snapshot().waiting == ["it holds NaN"]
    status.calibration("front")
    status.problem("front", "geometry", "frame 'x' is unknown")
    assert status.snapshot().waiting == ["frame 'x' is unknown"]
    status.problem("front", "geometry", "")
    assert status.snapshot().waiting == []


def test_qos_that_cannot_match_replaces_never_seen(status: Status):
    status.calibration("front")
    status.problem("front", "qos", "/front/image: QoS")
    assert status.snapshot().waiting == ["/front/image: QoS"]


def test_rate_latency_and_drops(status: Status, clock: FakeClock):
    for _ in range(5):
        status.set_formed(dropped=1)
        status.published({"decode": 0.010, "total": 0.250})
        clock.now_s += 0.5
    snapshot = status.snapshot()
    assert snapshot.rate_hz == pytest.approx(2.0)
    assert snapshot.latency_ms == pytest.approx({"decode": 10.0, "total": 250.0})
    assert (snapshot.sets, snapshot.published, snapshot.dropped) == (10, 5, 5)
    assert "2.0 Hz, 250 ms (decode 10) | 5 sets published, 5 dropped" in snapshot.line()


def test_known_cameras_keep_their_history_when_the_rig_grows(status: Status):
    status.image("front", 5)
    status.set_cameras({"front": ("/front/image", "/front/camera_info"), "left": ("/left/image", "/left/camera_info")})
    cameras = status.snapshot().cameras
    assert (cameras["front"].images, cameras["left"].images) == (1, 0)


def test_a_complaint_is_made_once_per_kind_and_again_only_later(clock: FakeClock):
    told: list[str] = []
    complain = Complaints(told.append, clock)
    for text in ("a at 1 s", "a at 2 s"):
        complain("a", text)
    complain("b", "b")
    assert told == ["a at 1 s", "b"]
    clock.now_s += TELL_AGAIN_S
    complain("a", "a at 3 s")
    assert told == ["a at 1 s", "b", "a at 3 s"]


def test_a_camera_is_stale_only_while_others_go_on(status: Status, clock: FakeClock):
    status.set_cameras({"front": ("/front/image", "/front/camera_info"), "left": ("/left/image", "/left/camera_info")})
    status.image("front", 5)
    status.image("left", 5)
    clock.now_s += STALE_S + 0.1
    assert status.snapshot().stale == []
    status.image("front", 6)
    assert status.snapshot().stale == ["left"]
    assert "images on /left/image" in status.snapshot().waiting
    status.image("left", 7)
    assert status.snapshot().stale == []
