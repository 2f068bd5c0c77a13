# SPDX-License-Identifier: Apache-2.0
"""Decoding: every encoding gives the same picture, and what is broken is told in one sentence."""

from __future__ import annotations

import array
import struct
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfocc_ros.sensing.decode import RAW, decode, image_size, read_pixels
from selfocc_ros.sensing.frames import CameraFrame, DecodeError

WIDTH, HEIGHT = 37, 23


def picture(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Smooth RGB with a different gradient in each channel, so that swapped channels and shifted rows show."""
    v, u = np.mgrid[0:height, 0:width]
    channels = [255 * u / width, 255 * v / height, 255 - 127 * u / width - 127 * v / height]
    return np.stack(channels, axis=-1).astype(np.uint8)


def encoded(rgb: np.ndarray, suffix: str = ".jpg", *options: int) -> bytes:
    ok, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), list(options))
    assert ok
    return data.tobytes()


def file_frame(data: Any, encoding: str = "jpeg") -> CameraFrame:
    return CameraFrame("front", 0, "front_optical", encoding, data)


def raw_frame(encoding: str, padding: int = 0, **changes: Any) -> CameraFrame:
    rgb = picture()
    grey = rgb[..., :1]
    alpha = np.full_like(grey, 9)
    pixels = {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "8UC3": rgb[..., ::-1],
        "rgba8": np.concatenate([rgb, alpha], axis=-1),
        "bgra8": np.concatenate([rgb[..., ::-1], alpha], axis=-1),
        "mono8": grey,
        "8UC1": grey,
    }[encoding]
    rows = pixels.reshape(HEIGHT, -1)
    padded = np.concatenate([rows, np.full((HEIGHT, padding), 77, np.uint8)], axis=1)
    fields = {"data": padded.tobytes(), "width": WIDTH, "height": HEIGHT, "step": padded.shape[1], **changes}
    return CameraFrame("front", 0, "front_optical", encoding, **fields)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 64])
@pytest.mark.parametrize("encoding", sorted(RAW))
def test_raw_images_are_read_exactly(encoding: str, padding: int, big: bool) -> None:
    expected = picture()
    if encoding in ("mono8", "8UC1"):
        expected = np.repeat(expected[..., :1], 3, axis=-1)
    found = decode(raw_frame(encoding, padding, is_bigendian=big))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_a_step_of_zero_means_no_padding() -> None:
    np.testing.assert_array_equal(decode(raw_frame("bgr8", step=0)), picture())


def test_rgb8_is_not_copied() -> None:
    buffer = np.frombuffer(raw_frame("rgb8", 5).data, np.uint8).copy()
    frame = raw_frame("rgb8", 5, data=buffer)
    assert np.shares_memory(decode(frame), buffer)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda b: array.array("B", b), np.array])
def test_any_buffer_will_do(wrap: Callable[[bytes], Any]) -> None:
    raw = raw_frame("bgr8", 3)
    data = encoded(picture(), ".png")
    if wrap is np.array:
        wrap = lambda b: np.frombuffer(b, np.uint8)  # noqa: E731
    np.testing.assert_array_equal(decode(raw_frame("bgr8", 3, data=wrap(raw.data))), picture())
    np.testing.assert_array_equal(decode(file_frame(wrap(data), "png")), picture())


def test_png_is_exact_and_jpeg_close() -> None:
    np.testing.assert_array_equal(decode(file_frame(encoded(picture(), ".png"), "png")), picture())
    found = decode(file_frame(encoded(picture(), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 98)))
    assert np.abs(found.astype(int) - picture()).max() <= 12


def test_files_are_read_for_what_they_are_whatever_they_are_called() -> None:
    np.testing.assert_array_equal(decode(file_frame(encoded(picture(), ".png"), "jpeg")), picture())


def test_grey_files_come_out_as_rgb() -> None:
    ok, data = cv2.imencode(".jpg", picture()[..., 0], [cv2.IMWRITE_JPEG_QUALITY, 98])
    assert ok
    found = decode(file_frame(data))
    assert found.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(found[..., 0], found[..., 2])


@given(st.integers(9, 200), st.integers(9, 200), st.integers(1, 220), st.integers(1, 220))
def test_a_reduced_jpeg_is_as_small_as_it_may_be(width: int, height: int, least_width: int, least_height: int) -> None:
    frame = file_frame(encoded(picture(width, height)))
    pixels = read_pixels(frame, (least_width, least_height))
    h, w = pixels.array.shape[:2]
    reduction = pixels.reduction
    assert pixels.full_size == (width, height) == image_size(frame)
    assert (w, h) == (-(-width // reduction), -(-height // reduction))
    if reduction > 1:
        assert w >= least_width
        assert h >= least_height
    if reduction < 8:
        twice = 2 * reduction
        assert -(-width // twice) < least_width or -(-height // twice) < least_height


@pytest.mark.parametrize(
    ("least", "size"), [((240, 135), (240, 135)), ((241, 135), (480, 270)), ((120, 60), (120, 68))]
)
def test_reduced_sizes_of_a_common_camera(least: tuple[int, int], size: tuple[int, int]) -> None:
    found = decode(file_frame(encoded(picture(960, 540))), min_size=least)
    assert found.shape == (size[1], size[0], 3)
    expected = cv2.resize(picture(960, 540), size, interpolation=cv2.INTER_AREA)
    assert np.abs(found.astype(int) - expected).mean() < 2.0


def test_other_encodings_keep_their_size() -> None:
    assert decode(file_frame(encoded(picture(), ".png"), "png"), min_size=(4, 4)).shape == (HEIGHT, WIDTH, 3)
    assert decode(raw_frame("bgr8"), min_size=(4, 4)).shape == (HEIGHT, WIDTH, 3)


def test_orientation_in_exif_is_not_obeyed() -> None:
    tiff = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    jpeg = encoded(picture())
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 2) + tiff + jpeg[2:]
    # The orientation is really there: obeyed, it would turn the image.
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (WIDTH, HEIGHT, 3)
    assert decode(file_frame(turned)).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("options", [(cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])
def test_sizes_of_jpegs_of_other_kinds(options: tuple[int, int]) -> None:
    data = encoded(picture(300, 200), ".jpg", *options)
    assert image_size(file_frame(data)) == (300, 200)
    assert decode(file_frame(data), min_size=(150, 100)).shape == (100, 150, 3)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm() -> None:
    np.testing.assert_array_equal(
        decode(file_frame(encoded(picture()) + bytes(1000))), decode(file_frame(encoded(picture())))
    )


# --- what is broken


@pytest.mark.fault
@pytest.mark.parametrize("encoding", ["nv24", "bayer_rggb12", "32FC1", "RGB8", "", "mono32"])
def test_unknown_encodings_are_named_with_those_that_are_known(encoding: str) -> None:
    frame = CameraFrame("front", 0, "f", encoding, bytes(6), 2, 1, 6)
    with pytest.raises(
        DecodeError,
        match=f"^camera 'front': encoding '{encoding}' is not supported, expected one of jpeg, png, rgb8, bgr8",
    ):
        decode(frame)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"width": 0}, "at least 1x1, found 0x23"),
        ({"height": 0}, "at least 1x1, found 37x0"),
        ({"step": 110}, "step is 110 bytes, but a row of 37 pixels rgb8 takes 111"),
        ({"height": 24}, r"2553 bytes of data, expected 2664 \(24 rows of 111, rgb8\)"),
        ({"data": b""}, "0 bytes of data"),
        ({"data": bytes(9999)}, "9999 bytes of data, expected 2553"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(DecodeError, match=f"^camera 'front': .*{sentence}"):
        decode(raw_frame("rgb8", **changes))


@pytest.mark.fault
@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00", bytes(500), b"not an image at all", b"\x89PNG\r\n\x1a\n"],
)
@pytest.mark.parametrize("encoding", ["jpeg", "png"])
def test_what_is_no_image_is_refused(data: bytes, encoding: str) -> None:
    with pytest.raises(DecodeError, match=f"^camera 'front': {len(data)} bytes declared as {encoding}") as caught:
        decode(file_frame(data, encoding), min_size=(4, 4))
    assert "\n" not in str(caught.value)


@pytest.mark.fault
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.999])
def test_a_jpeg_that_is_cut_off_is_refused_not_half_grey(part: float) -> None:
    data = encoded(picture(200, 150))
    with pytest.raises(DecodeError, match="camera 'front'"):
        decode(file_frame(data[: int(len(data) * part)]))


@pytest.mark.fault
def test_a_preview_inside_does_not_hide_that_a_jpeg_is_cut_off() -> None:
    preview = encoded(picture(16, 12))
    jpeg = encoded(picture(200, 150))
    segment = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    whole = jpeg[:2] + segment + jpeg[2:]
    assert decode(file_frame(whole)).shape == (150, 200, 3)
    with pytest.raises(DecodeError, match="cut off"):
        decode(file_frame(whole[:-200]))


@pytest.mark.fault
@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_a_png_that_is_cut_off_is_refused(part: float) -> None:
    data = encoded(picture(200, 150), ".png")
    with pytest.raises(DecodeError, match="camera 'front'"):
        decode(file_frame(data[: int(len(data) * part)], "png"))


@pytest.mark.fault
@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_whatever_bytes_come_the_error_is_our_own(noise: bytes, seed: int) -> None:
    rng = np.random.default_rng(seed)
    broken = bytearray(encoded(picture()))
    for at in rng.integers(len(broken), size=8):
        broken[at] = rng.integers(256)
    for data in (noise, b"\xff\xd8" + noise, b"\x89PNG\r\n\x1a\n" + noise, bytes(broken)):
        try:
            found = decode(file_frame(data), min_size=(8, 8))
        except DecodeError:
            continue
        assert found.ndim == 3
