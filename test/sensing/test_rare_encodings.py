# SPDX-License-Identifier: Apache-2.0
"""Images of industrial cameras come out in the colours that went in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.sensing.decode import decode, is_readable
from selfocc_ros.sensing.frames import CameraFrame, DecodeError, RigSample
from selfocc_ros.sensing.preprocess import preprocess
from selfocc_ros.sensing.rare_encodings import RARE

WIDTH, HEIGHT = 36, 24
RGB = (200, 110, 40)
BAYER = {"rggb": ((0, 1), (1, 2)), "bggr": ((2, 1), (1, 0)), "gbrg": ((1, 2), (0, 1)), "grbg": ((1, 0), (2, 1))}


def ramp() -> np.ndarray:
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([7 * u, 10 * v, 255 - 3 * u - 3 * v], axis=-1).astype(np.uint8)


def frame(encoding: str, rows: np.ndarray, padding: int = 4, **changes: Any) -> CameraFrame:
    """A frame of rows of bytes (H, ...), padded."""
    rows = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    padded = np.concatenate([rows, np.full((len(rows), padding), 77, np.uint8)], axis=1)
    fields = {"data": padded.tobytes(), "width": WIDTH, "height": len(rows), "step": padded.shape[1], **changes}
    return CameraFrame("front", 0, "front_optical", encoding, **fields)


def mosaic(pattern: str) -> np.ndarray:
    out = np.empty((HEIGHT, WIDTH), np.uint8)
    for row, channels in enumerate(BAYER[pattern]):
        for column, channel in enumerate(channels):
            out[row::2, column::2] = RGB[channel]
    return out


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "rgb16", "bgr16", "16UC3", "rgba16", "bgra16"])
def test_of_sixteen_bits_the_upper_eight_count(encoding: str, big: bool) -> None:
    rgb = ramp()
    alpha = np.full_like(rgb[..., :1], 9)
    pixels = {1: rgb[..., :1], 3: rgb, 4: np.concatenate([rgb, alpha], axis=-1)}[RARE[encoding] // 2]
    if encoding.startswith(("bgr", "16UC3")):
        pixels = np.concatenate([pixels[..., 2::-1], pixels[..., 3:]], axis=-1)
    deep = (pixels.astype(np.uint16) * 256 + 171).astype(">u2" if big else "<u2")
    found = decode(frame(encoding, deep, is_bigendian=big))
    np.testing.assert_array_equal(found, rgb if RARE[encoding] > 2 else np.repeat(rgb[..., :1], 3, axis=-1))


@pytest.mark.parametrize("pattern", BAYER)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_mosaic_gets_its_colours_back(pattern: str, bits: int) -> None:
    rows = mosaic(pattern)
    deep = rows if bits == 8 else (rows.astype(np.uint16) * 256).astype("<u2")
    found = decode(frame(f"bayer_{pattern}{bits}", deep))
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert (found == RGB).all()


@pytest.mark.parametrize(("encoding", "luma"), [("yuv422", 1), ("uyvy", 1), ("yuv422_yuy2", 0), ("yuyv", 0)])
def test_pairs_of_pixels_share_their_colour(encoding: str, luma: int) -> None:
    rows = np.empty((HEIGHT, WIDTH, 2), np.uint8)
    r, g, b = RGB  # ITU-R BT.601, video range
    rows[..., luma] = round(16 + (65.738 * r + 129.057 * g + 25.064 * b) / 256)
    rows[:, 0::2, 1 - luma] = round(128 + (-37.945 * r - 74.494 * g + 112.439 * b) / 256)  # U
    rows[:, 1::2, 1 - luma] = round(128 + (112.439 * r - 94.154 * g - 18.285 * b) / 256)  # V
    found = decode(frame(encoding, rows)).astype(int)
    assert np.abs(found - RGB).max() <= 2


def test_a_lens_is_undone_after_the_mosaic() -> None:
    camera = CameraModel(WIDTH, HEIGHT, np.array([[30.0, 0, 17.5], [0, 30.0, 11.5], [0, 0, 1]]), "plumb_bob",
                         (0.05, 0.0, 0.0, 0.0, 0.0))  # fmt: skip
    rig = CameraRig(("front",), (camera,), np.eye(4)[None])
    found = preprocess(RigSample(0, rig, (frame("bayer_rggb8", mosaic("rggb")),)), (WIDTH, HEIGHT))
    assert (found.images[0, 8:16, 12:24] == RGB).all()


@pytest.mark.fault
def test_fault_what_has_no_such_encoding_is_told() -> None:
    with pytest.raises(DecodeError, match=r"an image of 35x24 cannot be yuyv"):
        decode(frame("yuyv", np.zeros((HEIGHT, 35, 2), np.uint8), width=35))
    with pytest.raises(DecodeError, match=r"encoding '32FC1' is not supported, expected one of jpeg, .*yuyv"):
        decode(frame("32FC1", np.zeros((HEIGHT, WIDTH), np.float32)))
    assert not is_readable("32FC1")
    assert is_readable("bayer_grbg16")
