# SPDX-License-Identifier: Apache-2.0
"""The camera side of the node, over DDS within one process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from input_bench import InputBench, compressed_image, input_bench
from sensor_msgs.msg import CameraInfo, CompressedImage

MS = 1_000_000


def calibration(focal: float) -> CameraInfo:
    out = CameraInfo(height=48, width=64, distortion_model="plumb_bob", d=[0.0] * 5)
    out.k = np.array([focal, 0, 31.5, 0, focal, 23.5, 0, 0, 1])
    return out


@pytest.fixture
def bench() -> Iterator[InputBench]:
    with input_bench() as out:
        yield out


def test_a_latched_calibration_is_heard_and_a_new_one_is_taken_over(bench: InputBench):
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


def test_a_publisher_of_another_reliability_is_told_and_followed(bench: InputBench):
    reliable = bench.publisher(CompressedImage, "/front/image/compressed")
    bench.publisher(CameraInfo, "/front/camera_info")
    bench.until(reliable.get_subscription_count, "the subscription")
    best_effort = bench.publisher(CompressedImage, "/front/image/compressed", reliable=False)
    bench.until(best_effort.get_subscription_count, "a subscription that matches both")
    stamps = iter(range(1_000 * MS, 10**15, 100 * MS))
    bench.until(lambda: bench.sets, "an image", lambda: best_effort.publish(compressed_image(next(stamps))))
    assert bench.told == [] or "cannot match" in bench.told[0]  # it may be followed before the event comes
    assert not bench.status.snapshot().cameras["front"].problems


def test_a_jump_back_is_reported_once_and_sets_go_on(bench: InputBench):
    front = bench.publisher(CompressedImage, "/front/image/compressed")
    left = bench.publisher(CompressedImage, "/left/image/compressed")
    for name in ("front", "left"):
        bench.publisher(CameraInfo, f"/{name}/camera_info")
    bench.until(lambda: front.get_subscription_count() and left.get_subscription_count(), "subscriptions")
    for stamps in (range(10_000, 10_500, 100), range(5_000, 5_500, 100)):
        for stamp in stamps:
            before = len(bench.sets)
            front.publish(compressed_image(stamp * MS))
            left.publish(compressed_image((stamp + 10) * MS))
            bench.until(lambda before=before: len(bench.sets) > before, "a set", lambda: bench.inputs.poll(0.05))
    assert [s.stamp_ns // MS for s in bench.sets] == [*range(10_000, 10_500, 100), *range(5_000, 5_500, 100)]
    assert len(bench.jumps) == 1
    assert bench.jumps[0] == pytest.approx(-5.4, abs=0.02)


def test_a_set_without_its_late_camera_goes_out_when_time_goes_on(bench: InputBench):
    front = bench.publisher(CompressedImage, "/front/image/compressed")
    left = bench.publisher(CompressedImage, "/left/image/compressed")
    for name in ("front", "left"):
        bench.publisher(CameraInfo, f"/{name}/camera_info")
    bench.until(lambda: front.get_subscription_count() and left.get_subscription_count(), "subscriptions")
    front.publish(compressed_image(1_000 * MS))
    bench.until(lambda: bench.status.snapshot().cameras["front"].images, "the image")
    assert bench.sets == []
    for _ in range(3):  # 0.15 s of listening: less than max_wait
        bench.inputs.poll(0.05)
    assert bench.sets == []
    for _ in range(2):
        bench.inputs.poll(0.05)
    [late] = bench.sets
    assert (set(late.items), late.missing) == ({"front"}, ("left",))


def test_closing_ends_all_subscriptions(bench: InputBench):
    front = bench.publisher(CompressedImage, "/front/image/compressed")
    info = bench.publisher(CameraInfo, "/front/camera_info")
    bench.until(lambda: front.get_subscription_count() and info.get_subscription_count(), "subscriptions")
    before = len(list(bench.listener.subscriptions))
    bench.inputs.close()
    assert len(list(bench.listener.subscriptions)) == before - 2
    bench.inputs.poll(0.05)
    bench.inputs.close()
