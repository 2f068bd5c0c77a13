# SPDX-License-Identifier: Apache-2.0
"""The camera side of the node, over DDS within one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage

from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros import qos
from selfocc_ros.ros.complaints import Complaints
from selfocc_ros.ros.inputs import CameraInputs
from selfocc_ros.ros.status import Status

MS = 1_000_000


class Bench:
    """CameraInputs of one node, fed by another."""

    def __init__(self, context: rclpy.Context) -> None:
        self.listener, self.camera = Node("listener", context=context), Node("camera", context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.listener)
        self.executor.add_node(self.camera)
        self.sets: list[Any] = []
        self.jumps: list[float] = []
        self.told: list[str] = []
        self.status = Status()
        self.inputs = CameraInputs(
            self.listener,
            NodeParameters(),
            self.status,
            Complaints(self.told.append),
            self.sets.extend,
            self.jumps.append,
        )

    def until(self, condition: Callable[[], Any], what: str, work: Callable[[], Any] = lambda: None) -> None:
        deadline = time.monotonic() + 30.0
        while not condition():
            assert time.monotonic() < deadline, what
            work()
            self.inputs.look(time.monotonic())
            self.executor.spin_once(timeout_sec=0.02)

    def publisher(self, kind: Any, topic: str, **options: bool) -> Any:
        return self.camera.create_publisher(kind, topic, qos.profile(5, **options))


def image(stamp_ns: int) -> CompressedImage:
    message = CompressedImage(format="jpeg", data=b"\xff\xd8\xff\xe0")
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    message.header.frame_id = "front_optical"
    return message


def calibration(focal: float) -> CameraInfo:
    out = CameraInfo(height=48, width=64, distortion_model="plumb_bob", d=[0.0] * 5)
    out.k = np.array([focal, 0, 31.5, 0, focal, 23.5, 0, 0, 1])
    return out


@pytest.fixture
def bench() -> Iterator[Bench]:
    context = rclpy.Context()
    rclpy.init(context=context)
    out = Bench(context)
    yield out
    out.listener.destroy_node()
    out.camera.destroy_node()
    context.shutdown()


def test_a_latched_calibration_is_heard_and_a_new_one_is_taken_over(bench: Bench):
    bench.publisher(CompressedImage, "/front/image/compressed")
    info = bench.publisher(CameraInfo, "/front/camera_info", latched=True)
    info.publish(calibration(50.0))  # once, long before anybody listens
    bench.until(lambda: "front" in bench.inputs.models(), "the calibration")
    assert bench.inputs.models()["front"].matrix[0, 0] == 50.0
    info.publish(calibration(60.0))
    bench.until(lambda: bench.inputs.models()["front"].matrix[0, 0] == 60.0, "the new calibration")
    info.publish(calibration(float("nan")))
    bench.until(lambda: not bench.inputs.models(), "the calibration that cannot be used")
    assert len(bench.told) == 1
    assert bench.told[0].startswith("camera 'front' is left out: /front/camera_info: ")


def test_a_publisher_of_another_reliability_is_told_and_followed(bench: Bench):
    reliable = bench.publisher(CompressedImage, "/front/image/compressed")
    bench.publisher(CameraInfo, "/front/camera_info")
    bench.until(reliable.get_subscription_count, "the subscription")
    best_effort = bench.publisher(CompressedImage, "/front/image/compressed", reliable=False)
    bench.until(best_effort.get_subscription_count, "a subscription that matches both")
    stamps = iter(range(1_000 * MS, 10**15, 100 * MS))
    bench.until(lambda: bench.sets, "an image", lambda: best_effort.publish(image(next(stamps))))
    assert bench.told == [] or "cannot match" in bench.told[0]  # it may be followed before the event comes
    assert not bench.status.snapshot().cameras["front"].problems


def test_a_jump_back_is_reported_once_and_sets_go_on(bench: Bench):
    front = bench.publisher(CompressedImage, "/front/image/compressed")
    left = bench.publisher(CompressedImage, "/left/image/compressed")
    for name in ("front", "left"):
        bench.publisher(CameraInfo, f"/{name}/camera_info")
    bench.until(lambda: front.get_subscription_count() and left.get_subscription_count(), "subscriptions")
    for stamps in (range(10_000, 10_500, 100), range(5_000, 5_500, 100)):
        for stamp in stamps:
            before = len(bench.sets)
            front.publish(image(stamp * MS))
            left.publish(image((stamp + 10) * MS))
            bench.until(lambda before=before: len(bench.sets) > before, "a set", lambda: bench.inputs.poll(0.05))
    assert [s.stamp_ns // MS for s in bench.sets] == [*range(10_000, 10_500, 100), *range(5_000, 5_500, 100)]
    assert len(bench.jumps) == 1
    assert bench.jumps[0] == pytest.approx(-5.4, abs=0.02)


def test_a_set_without_its_late_camera_goes_out_when_time_goes_on(bench: Bench):
    front = bench.publisher(CompressedImage, "/front/image/compressed")
    left = bench.publisher(CompressedImage, "/left/image/compressed")
    for name in ("front", "left"):
        bench.publisher(CameraInfo, f"/{name}/camera_info")
    bench.until(lambda: front.get_subscription_count() and left.get_subscription_count(), "subscriptions")
    front.publish(image(1_000 * MS))
    bench.until(lambda: bench.status.snapshot().cameras["front"].images, "the image")
    assert bench.sets == []
    for _ in range(3):  # 0.15 s of listening: less than max_wait
        bench.inputs.poll(0.05)
    assert bench.sets == []
    for _ in range(2):
        bench.inputs.poll(0.05)
    [late] = bench.sets
    assert (set(late.items), late.missing) == ({"front"}, ("left",))


def test_closing_ends_all_subscriptions(bench: Bench):
    front = bench.publisher(CompressedImage, "/front/image/compressed")
    info = bench.publisher(CameraInfo, "/front/camera_info")
    bench.until(lambda: front.get_subscription_count() and info.get_subscription_count(), "subscriptions")
    before = len(list(bench.listener.subscriptions))
    bench.inputs.close()
    assert len(list(bench.listener.subscriptions)) == before - 2
    bench.inputs.poll(0.05)
    bench.inputs.close()
