# SPDX-License-Identifier: Apache-2.0
"""What an installed ROS adds: message_filters for matching, cv_bridge for encodings; and what is said without them.

The tests that need the real packages are skipped without them. message_filters is pure Python: its sources on
PYTHONPATH will do; of cv_bridge PyPI has a port to pure Python, cv-bridge.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from input_bench import compressed_image, input_bench, raw_image
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from selfocc_ros.logs.convert import camera_frame
from selfocc_ros.ros.filter_sync import FilterSynchronizer
from selfocc_ros.ros.optional import MissingPackageError, converted, message_filters
from selfocc_ros.sensing.decode import decode
from selfocc_ros.sensing.frames import DecodeError

MS = 1_000_000
NUSCENES_MS = {"front": 0, "front_left": -8, "front_right": 8, "back_right": 15, "back": 25, "back_left": 35}

needs_message_filters = pytest.mark.skipif(
    importlib.util.find_spec("message_filters") is None,
    reason="message_filters is not installed: ros-<distro>-message-filters, or its sources on PYTHONPATH",
)
needs_cv_bridge = pytest.mark.skipif(
    importlib.util.find_spec("cv_bridge") is None,
    reason="cv_bridge is not installed: ros-<distro>-cv-bridge, or its port cv-bridge on PyPI",
)


def push_all(sync: FilterSynchronizer[int], start_ms: int, count: int, leave_out: tuple[str, ...] = ()) -> list[Any]:
    """Frames of a nuScenes rig at 12 Hz; items are the number of the sweep."""
    frames = [
        (start_ms + 83 * k + phase, name, k)
        for k in range(count)
        for name, phase in NUSCENES_MS.items()
        if name not in leave_out
    ]
    return [found for stamp, name, k in sorted(frames) for found in sync.push(name, stamp * MS, k)]


@needs_message_filters
def test_message_filters_give_whole_sweeps() -> None:
    sets = push_all(FilterSynchronizer(NUSCENES_MS, 0.055), 1000, 50)
    assert [found.items for found in sets] == [dict.fromkeys(NUSCENES_MS, k) for k in range(50)]
    assert [found.stamp_ns for found in sets] == [(1000 + 83 * k) * MS for k in range(50)]  # of the front camera
    assert all(found.missing == () for found in sets)


@needs_message_filters
def test_message_filters_wait_for_ever_for_a_dead_camera() -> None:
    sync: FilterSynchronizer[int] = FilterSynchronizer(NUSCENES_MS, 0.055)
    assert push_all(sync, 1000, 20, leave_out=("back",)) == []
    assert sync.poll(10**15) == []


@needs_message_filters
def test_message_filters_begin_anew_when_time_jumps_back() -> None:
    sync: FilterSynchronizer[int] = FilterSynchronizer(NUSCENES_MS, 0.055)
    push_all(sync, 100_000, 20, leave_out=("back",))  # after this message_filters themselves would match nothing
    assert len(push_all(sync, 1000, 20)) == 20
    assert sync.jumps == 1


@needs_message_filters
def test_phases_are_taken_off() -> None:
    phases = {name: phase * 1e-3 for name, phase in NUSCENES_MS.items()}
    assert push_all(FilterSynchronizer(NUSCENES_MS, 0.005), 1000, 20) == []
    sets = push_all(FilterSynchronizer(NUSCENES_MS, 0.005, phases), 1000, 20)
    assert [found.items for found in sets] == [dict.fromkeys(NUSCENES_MS, k) for k in range(20)]


@needs_message_filters
def test_message_filters_match_what_comes_over_dds() -> None:
    with input_bench(**{"sync.policy": "message_filters"}) as bench:
        cameras = {name: bench.publisher(CompressedImage, f"/{name}/image/compressed") for name in ("front", "left")}
        for name in cameras:
            bench.publisher(CameraInfo, f"/{name}/camera_info")
        bench.until(lambda: all(c.get_subscription_count() for c in cameras.values()), "subscriptions")
        for k in range(3):
            cameras["front"].publish(compressed_image((1000 + 100 * k) * MS))
            cameras["left"].publish(compressed_image((1010 + 100 * k) * MS))
            bench.until(lambda k=k: len(bench.sets) > k, "a set", lambda: bench.inputs.poll(0.05))
    assert [found.stamp_ns // MS for found in bench.sets] == [1000, 1100, 1200]
    assert all(set(found.items) == {"front", "left"} for found in bench.sets)


@needs_cv_bridge
def test_cv_bridge_converts() -> None:
    pixels = np.full((8, 10, 3), (10, 20, 30), np.uint8)
    frame = converted("front", raw_image(5, pixels, "bgr8"))
    assert (frame.encoding, frame.width, frame.height, frame.stamp_ns) == ("rgb8", 10, 8, 5)
    assert (np.asarray(frame.data).reshape(8, 10, 3) == (30, 20, 10)).all()


@needs_cv_bridge
@pytest.mark.parametrize("encoding", ["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8"])
def test_cv_bridge_sees_the_colours_that_we_see(encoding: str) -> None:
    message = raw_image(5, np.random.default_rng(0).integers(0, 255, (8, 10), np.uint8), encoding)
    np.testing.assert_array_equal(decode(camera_frame("front", message)), decode(converted("front", message)))


def test_what_cv_bridge_gives_goes_on_as_rgb(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same without cv_bridge: something that answers as it does."""

    class Answering:
        def imgmsg_to_cv2(self, message: Any, desired_encoding: str) -> Any:
            assert desired_encoding == "rgb8"
            return np.full((message.height, message.width, 3), (1, 2, 3), np.uint8)

    stand_in = ModuleType("cv_bridge")
    stand_in.CvBridge = Answering  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv_bridge", stand_in)
    with input_bench() as bench:
        images = bench.publisher(Image, "/front/image_raw")
        bench.publisher(CameraInfo, "/front/camera_info")
        bench.until(images.get_subscription_count, "the subscription")
        images.publish(raw_image(1000 * MS, np.zeros((8, 10), np.uint8), "nv21"))
        bench.until(lambda: bench.sets, "a set")
    frame = bench.sets[0].items["front"]
    assert (frame.encoding, frame.width, frame.height, frame.frame_id) == ("rgb8", 10, 8, "front_optical")
    assert bench.told == []


def missing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # so that importing it fails
    monkeypatch.setenv("ROS_DISTRO", "jazzy")


@pytest.mark.fault
def test_fault_without_message_filters_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "message_filters")
    with pytest.raises(MissingPackageError) as caught:
        message_filters()
    sentence = str(caught.value)
    assert sentence.startswith("parameter sync.policy message_filters needs message_filters, which cannot be imported")
    assert sentence.endswith("install ros-jazzy-message-filters; sync.policy: native needs nothing")
    with pytest.raises(MissingPackageError), input_bench(**{"sync.policy": "message_filters"}):
        pass


@pytest.mark.fault
def test_fault_without_cv_bridge_the_package_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "cv_bridge")
    with input_bench() as bench:
        images = bench.publisher(Image, "/front/image_raw")
        bench.publisher(CameraInfo, "/front/camera_info")
        bench.until(images.get_subscription_count, "the subscription")
        for k in range(2):
            images.publish(raw_image((1000 + 100 * k) * MS, np.zeros((8, 10), np.uint8), "nv21"))
            bench.until(lambda k=k: len(bench.sets) > k, "a set")
        problems = bench.status.snapshot().cameras["front"].problems
    [sentence] = bench.told
    assert sentence.startswith("camera 'front': encoding 'nv21' needs cv_bridge, which cannot be imported here")
    assert "install ros-jazzy-cv-bridge" in sentence
    assert problems["encoding"] == sentence


@pytest.mark.fault
def test_fault_what_cv_bridge_cannot_do_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def imgmsg_to_cv2(self, message: Any, desired_encoding: str) -> Any:
            raise TypeError(f"[{message.encoding}] is not a color format. but [{desired_encoding}] is")

    stand_in = ModuleType("cv_bridge")
    stand_in.CvBridge = Refusing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv_bridge", stand_in)
    with pytest.raises(DecodeError, match=r"cv_bridge cannot make rgb8 of encoding '32FC1' \(\[32FC1\] is not a color"):
        converted("front", raw_image(5, np.zeros((8, 10), np.float32), "32FC1"))
