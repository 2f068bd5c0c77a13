# SPDX-License-Identifier: Apache-2.0
"""Frames and cameras from messages of any library, by their fields alone."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from selfocc_ros.geometry.cameras import CalibrationError, CameraModel
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.sensing.frames import CameraFrame, DecodeError, RigSample, camera_from_info, frame_from_message

JPEG_START = b"\xff\xd8\xff\xe0rest"
PNG_START = b"\x89PNG\r\n\x1a\nrest"


def header(sec: int = 12, nanosec: int = 345, frame_id: str = "front_optical") -> SimpleNamespace:
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id=frame_id)


def compressed(fmt: str, data: Any = JPEG_START, **head: Any) -> SimpleNamespace:
    return SimpleNamespace(header=header(**head), format=fmt, data=data)


def raw(**changes: Any) -> SimpleNamespace:
    fields: dict[str, Any] = {"height": 2, "width": 3, "encoding": "rgb8", "is_bigendian": 0, "step": 9}
    return SimpleNamespace(header=header(), data=array.array("B", bytes(18)), **{**fields, **changes})


@pytest.mark.parametrize(
    ("fmt", "expected"),
    [
        ("jpeg", "jpeg"),
        ("JPEG", "jpeg"),
        ("jpg", "jpeg"),
        ("png", "png"),
        ("bgr8; jpeg compressed bgr8", "jpeg"),
        ("rgb8; jpeg compressed bgr8", "jpeg"),
        ("rgb8; png compressed rgb8", "png"),
        ("mono8; jpeg compressed ", "jpeg"),
    ],
)
def test_compressed_formats_are_understood(fmt: str, expected: str) -> None:
    frame = frame_from_message("front", compressed(fmt))
    assert (frame.camera, frame.stamp_ns, frame.frame_id) == ("front", 12_000_000_345, "front_optical")
    assert frame.encoding == expected


@pytest.mark.parametrize(("data", "expected"), [(JPEG_START, "jpeg"), (PNG_START, "png")])
def test_an_empty_format_is_read_off_the_data(data: bytes, expected: str) -> None:
    assert frame_from_message("front", compressed("", data)).encoding == expected
    assert frame_from_message("front", compressed("", np.frombuffer(data, np.uint8))).encoding == expected


@pytest.mark.fault
@pytest.mark.parametrize("fmt", ["16UC1; compressedDepth png", "32FC1; compressedDepth", "h264", "tiff", ""])
def test_other_formats_are_refused_in_one_sentence(fmt: str) -> None:
    with pytest.raises(
        DecodeError, match=r"^camera 'front': compressed format '.*' is not supported, expected jpeg or"
    ):
        frame_from_message("front", compressed(fmt, b"12345678"))


def test_a_raw_image_keeps_its_fields_and_its_buffer() -> None:
    message = raw(step=12, is_bigendian=1, encoding="bgr8")
    frame = frame_from_message("front", message)
    assert frame.data is message.data
    assert (frame.encoding, frame.width, frame.height, frame.step) == ("bgr8", 3, 2, 12)
    assert frame.is_bigendian is True


def test_a_stamp_of_zero_gives_way_to_the_receive_time() -> None:
    empty = compressed("jpeg", sec=0, nanosec=0, frame_id="")
    assert frame_from_message("front", empty).stamp_ns == 0
    assert frame_from_message("front", empty, receive_ns=77).stamp_ns == 77
    assert frame_from_message("front", compressed("jpeg"), receive_ns=77).stamp_ns == 12_000_000_345


def test_a_leading_slash_of_the_frame_is_dropped() -> None:
    assert frame_from_message("front", compressed("jpeg", frame_id="/cam_front")).frame_id == "cam_front"


def test_a_sample_holds_the_frames_of_its_rig() -> None:
    camera = CameraModel(4, 4, np.diag([4.0, 4, 1]))
    rig = CameraRig(("a", "b"), (camera, camera), np.stack([np.eye(4)] * 2))
    frames = tuple(CameraFrame(name, 1, "x", "jpeg", b"") for name in "ba")
    assert RigSample(1, rig, frames[::-1]).missing == ()
    with pytest.raises(ValueError, match="must match its rig"):
        RigSample(1, rig, frames)


# --- CameraInfo

K = [100.0, 0.0, 50.0, 0.0, 110.0, 40.0, 0.0, 0.0, 1.0]
P = [90.0, 0.0, 48.0, 0.0, 0.0, 95.0, 41.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def info(ros1: bool = False, **changes: Any) -> SimpleNamespace:
    fields: dict[str, Any] = {
        "width": 101,
        "height": 80,
        "distortion_model": "plumb_bob",
        "d": [0.1, 0.0, 0.0, 0.0, 0.0],
        "k": np.array(K),
        "r": np.eye(3).ravel(),
        "p": np.array(P),
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False),
    }
    fields.update(changes)
    if ros1:
        fields = {(key.upper() if len(key) == 1 else key): value for key, value in fields.items()}
    return SimpleNamespace(**fields)


@pytest.mark.parametrize("ros1", [False, True])
def test_camera_info_of_ros_1_and_2_give_the_same_camera(ros1: bool) -> None:
    camera = camera_from_info(info(ros1))
    assert camera == CameraModel(101, 80, np.array(K).reshape(3, 3), "plumb_bob", (0.1, 0, 0, 0, 0))


def test_a_rectification_matrix_changes_nothing() -> None:
    turned = info(r=[0.0, -1, 0, 1, 0, 0, 0, 0, 1])
    assert camera_from_info(turned) == camera_from_info(info())


def test_rectified_images_take_p_and_no_distortion() -> None:
    camera = camera_from_info(info(), rectified=True)
    assert not camera.is_distorted
    np.testing.assert_array_equal(camera.matrix, np.reshape(P, (3, 4))[:, :3])
    unfilled = camera_from_info(info(p=np.zeros(12)), rectified=True)
    assert not unfilled.is_distorted
    np.testing.assert_array_equal(unfilled.matrix, np.reshape(K, (3, 3)))


def test_a_region_of_interest_and_binning_are_applied() -> None:
    roi = SimpleNamespace(x_offset=10, y_offset=20, width=41, height=40, do_rectify=False)
    camera = camera_from_info(info(roi=roi, binning_x=2, binning_y=2))
    assert (camera.width, camera.height) == (20, 20)
    whole = camera_from_info(info())
    # Pixel (3, 5) of the binned image is the mean of the pixels 16..17, 30..31 of the whole one.
    np.testing.assert_allclose(camera.unproject([3.0, 5.0]), whole.unproject([16.5, 30.5]), atol=1e-12)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"k": np.zeros(9)}, "uncalibrated: K.0. is 0"),
        ({"k": np.full(9, np.nan)}, "NaN"),
        ({"k": []}, "9 numbers, found 0"),
        ({"d": [0.1, float("nan"), 0, 0, 0]}, "NaN"),
        ({"d": [0.1] * 7}, "takes 4 or 5 coefficients, found 7"),
        ({"distortion_model": "thin_prism_42"}, "unknown distortion model 'thin_prism_42'"),
        ({"width": 0}, "at least 1x1"),
    ],
)
def test_bad_camera_info_is_refused_in_one_sentence(changes: dict, sentence: str) -> None:
    with pytest.raises(CalibrationError, match=sentence):
        camera_from_info(info(**changes))


@pytest.mark.fault
def test_a_message_without_the_fields_is_refused() -> None:
    with pytest.raises(CalibrationError, match="field 'k' or 'K'"):
        camera_from_info(SimpleNamespace(width=1, height=1))
