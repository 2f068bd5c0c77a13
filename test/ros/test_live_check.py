# SPDX-License-Identifier: Apache-2.0
"""`selfocc check --live` over DDS: a sound vehicle passes, and each fault is named with what to do."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import SetBool
from tf2_msgs.msg import TFMessage

from selfocc_ros.cli import main
from selfocc_ros.logs.check import check_bag
from selfocc_ros.logs.check_report import CheckReport, render_report
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros import qos
from selfocc_ros.ros.domain import environment, own_domain
from selfocc_ros.ros.live_check import LiveCheck, check_live
from selfocc_ros.ros.processes import Processes
from selfocc_ros.ros.session import NODE
from selfocc_ros.sensing.rig_source import RigSource

RIG = Path(__file__).with_name("live_rig.py")
SECONDS = 1.2

VEHICLES: dict[str, dict[str, Any]] = {
    "sound": {"cameras": {"front": {}, "left": {}}},
    # Cameras with a fault each, beside a sound one.
    "faulty": {
        "cameras": {
            "front": {},
            "large": {"info": [128, 96]},
            "lonely": {"info": None},
            "loose": {"unmounted": True},
            "mute": {"mute": True},
            "raw": {"raw": True, "reliable": False},
            "zero": {"zero": True},
        }
    },
    "unheard": {"cameras": {"front": {}}, "tf_reliable": False, "static_latched": False},
    "own clock": {"cameras": {"front": {"offset_s": -1000.0}}},
    "late": {"cameras": {"front": {}}, "tf_delay_s": 1.4, "clock": True},
}


@pytest.fixture(scope="module")
def fleet(fake_command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """The vehicles, each in a ROS domain of its own, which is given by name; the sound one has a node."""
    domains: dict[str, int] = {}
    with ExitStack() as stack:
        for name, spec in VEHICLES.items():
            domain = domains[name] = stack.enter_context(own_domain())
            folder = tmp_path_factory.mktemp("vehicle")
            processes = stack.enter_context(Processes(folder, environment(domain)))
            processes.start("rig", [sys.executable, "-u", str(RIG), json.dumps(spec)])
            if name == "sound":
                processes.start("node", fake_command)
        yield domains


def check(domain: int, until: Callable[[CheckReport], object] = lambda report: report.cameras, **options: Any) -> Any:
    """The report of the vehicle; again while it is only starting, or its messages are late on a busy machine."""
    for _ in range(10):
        report = check_live(RigSource.of(NodeParameters().replace(options)), SECONDS, domain)
        if until(report):
            break
    return report


def test_a_sound_vehicle_with_a_node(fleet: dict[str, int]) -> None:
    report = check(fleet["sound"], lambda report: report.usable_sets and "running" in str(report.nodes))
    assert report.ok, render_report(report)
    assert report.verdict == "The node can run on this running system."
    front = report.cameras["front"]
    assert (front.problems, front.size, front.lens) == ([], (64, 48), "plumb_bob")
    assert front.offered == "reliable"
    assert front.images >= 5
    assert front.used >= front.images - 2
    assert front.rate_hz == pytest.approx(10.0, rel=0.5)
    assert abs(front.delay_ms) < 1000
    assert report.transforms["/tf_static"] >= 1
    assert report.transforms["/tf"] > 20
    assert set(report.frames) >= {"odom", "base_link", "front_optical", "left_optical"}
    assert report.advice == []
    (said,) = report.nodes.values()
    assert said[0].startswith("running")
    assert "nobody subscribes" in said[-1]
    text = render_report(report)
    assert "node /selfocc: running" in text
    assert "camera front: jpeg, 64x48" in text
    json.dumps(report.to_dict())


def test_the_command_misses_a_camera_of_the_parameters(
    fleet: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    domain = str(fleet["sound"])
    options = ["--seconds", str(SECONDS), "--domain", domain, "--cameras", "front,roof"]
    assert main(["check", "--live", *options]) == 1
    verdict = capsys.readouterr().out.splitlines()[-1]
    assert verdict.startswith("The node cannot run on this running system: camera 'roof' of parameter cameras")
    assert "there are: front, left" in verdict


@pytest.mark.fault
def test_fault_who_cannot_hear_and_who_contradicts(fleet: dict[str, int]) -> None:
    """A viewer asks for what is not offered, puts the vehicle below another frame too, and turns the node off."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=fleet["sound"])
    try:
        viewer = Node("viewer", context=context)
        points = f"/{NODE}/occupied_points"
        viewer.create_subscription(PointCloud2, points, lambda _: None, qos.profile(1, latched=True))
        static = viewer.create_publisher(TFMessage, "/tf_static", qos.profile(1, latched=True))
        edge = TransformStamped(child_frame_id="base_link")
        edge.header.frame_id, edge.transform.rotation.w = "map", 1.0
        static.publish(TFMessage(transforms=[edge]))
        turn_off = viewer.create_client(SetBool, f"/{NODE}/set_enabled")
        assert turn_off.wait_for_service(60.0)
        answer = turn_off.call_async(SetBool.Request(data=False))
        rclpy.spin_until_future_complete(viewer, answer, SingleThreadedExecutor(context=context), 60.0)
        seen = ("viewer", "disabled")
        report = check(fleet["sound"], lambda r: all(text in str(r.nodes) for text in seen) and "map" in r.frames)
    finally:
        context.shutdown()
    assert "the frame base_link is published below map and below odom: one of them must stop" in report.advice
    assert any(sentence.startswith(f"/{NODE} was told to rest: ros2 service call") for sentence in report.advice)
    said = report.nodes[f"/{NODE}"]
    assert said[0].startswith("disabled")
    assert f"/viewer does not hear {points}: offered volatile, wanted transient local" in said
    assert said[-1] == f"subscribed to: {points}"


@pytest.mark.fault
def test_fault_each_camera_is_told_what_it_lacks(fleet: dict[str, int]) -> None:
    faulty = check(fleet["faulty"], lambda report: len(report.cameras) == 6 and report.cameras["front"].used)
    assert faulty.unused_images["/camera/lonely/image/compressed"] == "there is no /camera/lonely/camera_info beside it"
    assert "64x48 but CameraInfo is for 128x96" in " ".join(faulty.cameras["large"].problems)
    assert "loose_optical" in " ".join(faulty.cameras["loose"].problems)
    assert faulty.cameras["mute"].problems == ["/camera/mute/image/compressed has no image"]
    assert "header stamps are zero" in " ".join(faulty.cameras["zero"].problems)
    assert "header.stamp" in " ".join(faulty.advice)
    assert faulty.cameras["raw"].offered == "best effort"
    assert "offer them reliably" in " ".join(faulty.cameras["raw"].notes)
    assert faulty.cameras["front"].problems == []


def told(report: CheckReport) -> dict[str, Any]:
    """What is said of each camera, but for how many images there were."""
    return {
        name: (c.image_topic, c.info_topic, c.encodings, c.size, c.info_size, c.lens, c.frame_id,
               [re.sub(r"\d+ of \d+", "some", problem) for problem in c.problems])
        for name, c in report.cameras.items()
    }  # fmt: skip


@pytest.mark.fault
def test_fault_a_recording_that_is_played_gets_the_report_of_the_recording(make_bag: Any, tmp_path: Path) -> None:
    def spoil(topic: str, _number: int, message: Any) -> Any:
        if topic == "/camera/left/camera_info":
            message.k[0] = np.nan
        return message

    bag = make_bag(tmp_path / "bag", seconds=8.0, change=spoil, static=("front", "left"))
    offline = check_bag(bag)
    assert [bool(camera.problems) for camera in offline.cameras.values()] == [False, True, True]
    with own_domain() as domain, Processes(tmp_path, environment(domain)) as processes:
        processes.start_module("player", "selfocc_ros.ros.bag_player", str(bag), "--loop")
        live = check(domain, lambda report: told(report) == told(offline))
    assert told(live) == told(offline)
    assert live.frames == offline.frames
    assert live.verdict == "The node can run on this running system, without left, right."


@pytest.mark.fault
def test_fault_transforms_that_nobody_hears(fleet: dict[str, int]) -> None:
    report = check(fleet["unheard"], lambda report: report.cameras and report.cameras["front"].images)
    assert not report.ok
    assert "frame base_link is not in its transforms" in report.verdict
    advice = " ".join(report.advice)
    assert "/live_rig must offer /tf reliable; nobody hears it otherwise (offered best effort" in advice
    assert "/live_rig must offer /tf_static reliable and transient local" in advice


@pytest.mark.fault
def test_fault_a_clock_of_its_own(fleet: dict[str, int]) -> None:
    report = check(fleet["own clock"], lambda r: r.cameras and r.cameras["front"].images and r.transforms)
    assert not report.ok
    assert "images are stamped 1000.0 s and transforms 0.0 s before" in " ".join(report.advice)
    assert any("1000.0 s before the receive times" in note for note in report.cameras["front"].notes)


@pytest.mark.fault
def test_fault_transforms_that_come_too_late(fleet: dict[str, int]) -> None:
    report = check(fleet["late"], lambda report: any("raise tf_wait" in sentence for sentence in report.advice))
    (late,) = [sentence for sentence in report.advice if "raise tf_wait" in sentence]
    assert late.startswith("the transform odom -> base_link comes up to 1.")
    assert "the node waits 0.5 s" in late
    assert not report.ok
    assert "time is that of /clock: the node needs use_sim_time:=true" in report.notes


def test_it_offers_nothing_and_serves_nothing() -> None:
    """Beside what rclpy gives every node: who checks must not be noticed."""
    with own_domain() as domain:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=domain)
        try:
            check = LiveCheck(RigSource(), context)
            eye = Node("eye", context=context, start_parameter_services=False)
            for name in ("selfocc_check", "selfocc_check_tf"):
                topics = {topic for topic, _ in eye.get_publisher_names_and_types_by_node(name, "/")}
                assert topics <= {"/parameter_events", "/rosout"}
                services = {service for service, _ in eye.get_service_names_and_types_by_node(name, "/")}
                assert services <= {f"/{name}/get_type_description"}
            check.close()
        finally:
            context.shutdown()


@pytest.mark.fault
def test_fault_nothing_is_there() -> None:
    with own_domain() as domain:
        report = check_live(RigSource(), 0.5, domain)
    assert not report.ok
    assert report.path == f"ROS domain {domain}"
    assert "ROS_DOMAIN_ID" in " ".join(report.advice)


@pytest.mark.fault
def test_fault_arguments_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--live", str(tmp_path)]) == 2
    assert main(["check", "--seconds", "0"]) == 2
    assert main(["check", "--domain", "300"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert "give one of them" in said[0]
