# SPDX-License-Identifier: Apache-2.0
"""Network inputs of the published kind, for cameras that are not those they were published for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.sensing.official_preprocess import OfficialInput, OfficialInputError

PLAIN: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def ramps(width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Red grows by one a column, green by one a row."""
    v, u = np.mgrid[0:height, 0:width]
    return np.stack([u, v, np.full_like(u, 7)], axis=-1).astype(np.uint8)


def test_crop_keeps_the_top_left_and_padding_goes_right_and_below() -> None:
    found = OfficialInput((40, 20), pad_multiple=32, **PLAIN).prepare(ramps(60, 50))
    assert found.shape == (3, 32, 64)
    assert found.dtype == np.float32
    assert np.array_equal(found[0, 0, :40], np.arange(40))
    assert np.array_equal(found[1, :20, 0], np.arange(20))
    assert not found[:, 20:].any()
    assert not found[:, :, 40:].any()


def test_halving_reads_the_two_pixels_around_each_centre() -> None:
    found = OfficialInput((64, 64), scale=0.5, **PLAIN).prepare(ramps(64, 64))
    assert np.allclose(found[0, 0], np.arange(32) * 2 + 0.5)


def test_normalisation_is_per_channel() -> None:
    found = OfficialInput((32, 32), mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0)).prepare(ramps(32, 32))
    assert found[:, 10, 20].tolist() == [19.0, 4.0, 1.0]


def test_camera_and_image_of_another_width_are_scaled_alike() -> None:
    settings = OfficialInput((64, 32), camera_width=64, **PLAIN)
    camera = CameraModel(128, 96, np.array([[100.0, 0.0, 63.5], [0.0, 100.0, 47.5], [0.0, 0.0, 1.0]]))
    used = settings.camera(camera)
    assert (used.width, used.height) == (64, 32)
    point = [[0.1, -0.2, 1.0]]
    before, _ = camera.project(point)
    after, _ = used.project(point)
    seen = settings.prepare(ramps(128, 96))
    column, row = after[0].round().astype(int)
    # The image tells by its colours where its pixels come from.
    assert seen[:2, row, column] == pytest.approx(before[0], abs=1.5)
    assert np.allclose(after, (before + 0.5) / 2 - 0.5)


def test_an_image_smaller_than_the_crop_is_filled_up_as_padding_is() -> None:
    settings = OfficialInput((64, 64))
    found = settings.prepare(np.full((40, 64, 3), 255, dtype=np.uint8))
    assert found.shape == (3, 64, 64)
    assert (found[:, :40] > 1.0).all()
    assert not found[:, 40:].any()


def test_focal_ratios_are_the_share_of_the_input_in_use() -> None:
    assert OfficialInput((40, 20), pad_multiple=32).focal_ratios == (40 / 64, 20 / 32)
    assert OfficialInput((40, 20), scale=0.5, pad_to=(20, 16)).focal_ratios == (1.0, 10 / 16)
    assert OfficialInput((40, 20), pad_to=(64, 32), pad_ratio=(1.6, 1.61)).focal_ratios == (0.625, 1 / 1.61)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"crop": (0, 20)}, "crop of the network's input must be above 0, found (0, 20)"),
        ({"scale": 0.0}, "scale of the network's input must be above 0, found 0.0"),
        ({"std": (1.0, 0.0, 1.0)}, "std of the network's input"),
        ({"camera_width": -5}, "camera_width of the network's input must be above 0, found -5"),
        ({"pad_to": (32, 64)}, "is 40x20, which does not fit into 32x64"),
        ({"scale": 0.01}, "scaled by 0.01 is 0x0"),
    ],
)
def test_settings_that_do_not_hold_together_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OfficialInputError) as error:
        OfficialInput(**({"crop": (40, 20)} | options))
    assert sentence in str(error.value)
