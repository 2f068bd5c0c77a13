# SPDX-License-Identifier: Apache-2.0
"""What the node says of itself."""

from __future__ import annotations

import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from selfocc_ros.node_parameters import DiagnosticsParameters
from selfocc_ros.ros.complaints import TELL_AGAIN_S, Complaints
from selfocc_ros.ros.diagnostics import alarms, diagnostics
from selfocc_ros.ros.status import GONE_S, WINDOW_S, Status

STALE_S = DiagnosticsParameters().warn_age


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
    assert status.snapshot().waiting == ("a first message on /front/image, /front/camera_info",)
    status.image("front", 5)
    status.calibration("front", "it holds NaN")
    assert status.snapshot().waiting == ("it holds NaN",)
    status.calibration("front")
    status.problem("front", "geometry", "frame 'x' is unknown")
    assert status.snapshot().waiting == ("frame 'x' is unknown",)
    status.problem("front", "geometry", "")
    assert status.snapshot().waiting == ()


def test_qos_that_cannot_match_replaces_never_seen(status: Status):
    status.calibration("front")
    status.problem("front", "qos", "/front/image: QoS")
    assert status.snapshot().waiting == ("/front/image: QoS",)


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
    assert status.snapshot().stale == ()
    status.image("front", 6)
    assert status.snapshot().stale == ("left",)
    assert "images on /left/image" in status.snapshot().waiting
    status.image("left", 7)
    assert status.snapshot().stale == ()


def entries(status: Status, **limits: float) -> dict[str, tuple[bytes, dict[str, str]]]:
    """Level and values of each entry of /diagnostics."""
    message = diagnostics("selfocc", status.snapshot(), Time(), DiagnosticsParameters(**limits))
    return {entry.name: (entry.level, {pair.key: pair.value for pair in entry.values}) for entry in message.status}


def healthy(status: Status, clock: FakeClock) -> None:
    """Ten images in a second, each worked on."""
    status.calibration("front")
    for k in range(10):
        clock.now_s += 0.1
        status.image("front", k, (640, 480), "rgb8")
        status.set_formed(0, {"front": 12.5})
        status.published({"decode": 0.01, "publish.grid": 0.002, "total": 0.05})


def test_diagnostics_tell_all_of_a_camera(status: Status, clock: FakeClock):
    healthy(status, clock)
    level, values = entries(status)["selfocc: camera front"]
    assert level == DiagnosticStatus.OK
    assert values == {
        "state": "ok", "reason": "", "age_s": "0.00", "rate_hz": "10.00", "skew_ms": "12.5", "size": "640x480",
        "encoding": "rgb8", "image_topic": "/front/image", "camera_info_topic": "/front/camera_info", "images": "10",
        "stamp_ns": "9", "calibrated": "True",
    }  # fmt: skip
    level, values = entries(status)["selfocc: state"]
    assert level == DiagnosticStatus.OK
    assert (values["state"], values["published"], values["latency_ms.publish.grid"]) == ("running", "10", "2.0")


@pytest.mark.parametrize(
    ("kind", "state"), [("image", "failing"), ("geometry", "left out"), ("stamp", "left out"), ("qos", "waiting")]
)
def test_the_state_of_a_camera_follows_its_problem(status: Status, clock: FakeClock, kind: str, state: str):
    healthy(status, clock)
    status.problem("front", kind, "it is so")
    level, values = entries(status)["selfocc: camera front"]
    assert (level, values["state"], values["reason"]) == (DiagnosticStatus.WARN, state, "it is so")
    assert entries(status)["selfocc: state"][0] == DiagnosticStatus.WARN
    status.problem("front", kind, "")
    assert entries(status)["selfocc: camera front"][1]["state"] == "ok"


def test_a_silent_camera_is_a_warning_and_then_an_error(status: Status, clock: FakeClock):
    healthy(status, clock)
    found = []
    for _ in range(3):
        level, values = entries(status, warn_age=2.0, error_age=10.0)["selfocc: camera front"]
        found.append((level, values["state"], entries(status, warn_age=2.0, error_age=10.0)["selfocc: state"][0]))
        clock.now_s += 6.0
    ok, warn, error = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
    assert found == [(ok, "ok", ok), (warn, "stale", warn), (error, "stale", error)]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            {"warn_latency": 0.04},
            "from a set to publishing, more than diagnostics.warn_latency (0.04 s)",
        ),
        ({"error_latency": 0.04}, "more than diagnostics.error_latency (0.04 s)"),
        ({"min_rate": 20.0}, "occupancy goes out at 10.0 Hz, less than diagnostics.min_rate (20 Hz)"),
    ],
)
def test_limits_are_parameters(status: Status, clock: FakeClock, limits: dict[str, float], words: str):
    healthy(status, clock)
    [(level, sentence)] = alarms(status.snapshot(), DiagnosticsParameters(**limits))
    assert words in sentence
    assert level == entries(status, **limits)["selfocc: state"][0]
    assert (level == DiagnosticStatus.ERROR) == ("error_latency" in limits)


def test_a_camera_that_left_the_rig_is_told_of_for_a_while(status: Status, clock: FakeClock):
    healthy(status, clock)
    status.set_cameras({"left": ("/left/image", "/left/camera_info")})
    level, values = entries(status)["selfocc: camera front"]
    assert (level, values["state"]) == (DiagnosticStatus.WARN, "left out")
    assert values["reason"] == "nobody publishes /front/image any more"
    assert entries(status)["selfocc: state"][1]["image_topics"] == "/left/image"
    clock.now_s += GONE_S
    assert "selfocc: camera front" not in entries(status)


def test_a_network_that_fails_is_an_error_until_it_works(status: Status, clock: FakeClock):
    healthy(status, clock)
    status.network_fault("it failed 3 times")
    assert entries(status)["selfocc: state"][0] == DiagnosticStatus.ERROR
    assert status.snapshot().reason == "it failed 3 times"
    status.network_fault("")
    assert status.snapshot().state == "running"


def test_a_jump_of_time_is_told_for_a_while_and_remembered(status: Status, clock: FakeClock):
    healthy(status, clock)
    status.jumped("time went back")
    level, values = entries(status)["selfocc: state"]
    assert (level, values["reason"], values["time_jumps"]) == (DiagnosticStatus.WARN, "time went back", "1")
    clock.now_s += WINDOW_S
    healthy(status, clock)
    level, values = entries(status)["selfocc: state"]
    assert (level, values["reason"], values["last_time_jump"]) == (DiagnosticStatus.OK, "", "time went back")


def test_trouble_of_the_whole_rig_is_waited_for_until_it_is_over(status: Status, clock: FakeClock):
    healthy(status, clock)
    status.trouble("motion", "there is no odometry")
    assert status.snapshot().waiting == ("there is no odometry",)
    assert entries(status)["selfocc: state"][0] == DiagnosticStatus.WARN
    status.trouble("motion", "")
    assert status.snapshot().waiting == ()
