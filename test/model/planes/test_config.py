# SPDX-License-Identifier: Apache-2.0
"""Configurations of the plane families: those that come with the package, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from selfocc_ros.configuration import ConfigError, to_mapping
from selfocc_ros.model.config import ModelConfig, load_model_config, parse_model_config
from selfocc_ros.model.planes.config import PlaneConfig

NAMES = [f"nuscenes_{kind}" for kind in ("tpv", "bev", "depth", "novel_depth")]
NAMES += [f"kitti_{kind}" for kind in ("tpv", "novel_depth", "raw_depth")]


def load(name: str) -> PlaneConfig:
    config = load_model_config(name)
    assert isinstance(config, PlaneConfig)
    return config


@pytest.mark.parametrize("name", NAMES)
def test_it_bears_its_name_and_survives_a_checkpoint(name: str) -> None:
    config = load(name)
    assert config.name == name
    assert parse_model_config(to_mapping(config), "metadata") == config


@pytest.mark.parametrize("name", NAMES)
def test_the_occupancy_grid_lies_in_the_box(name: str) -> None:
    config = load(name)
    box, origin = config.planes, config.planes.origin
    lower, upper = list(box.lower), list(box.upper)
    if box.axes == "right_forward_up":
        lower, upper = [box.lower[1], -box.upper[0], box.lower[2]], [box.upper[1], -box.lower[0], box.upper[2]]
    for axis in range(3):
        assert lower[axis] + origin[axis] <= config.grid.lower[axis] + 1e-9
        assert config.grid.upper[axis] <= upper[axis] + origin[axis] + 1e-9


@pytest.mark.parametrize(
    ("name", "filled"),
    [
        ("nuscenes_tpv", (1.0, 1.0)),
        ("nuscenes_depth", (1.0, 1.0)),
        ("kitti_tpv", (1.0, 1.0)),
        ("kitti_novel_depth", (1.0, 370 / 384)),
        ("kitti_raw_depth", (0.84 * 1216 / 1024, 0.84 * 370 / 320)),
    ],
)
def test_how_much_of_the_input_the_crop_fills(name: str, filled: tuple[float, float]) -> None:
    # The published padding ratios are rounded to three or four places.
    assert load(name).input.filled == pytest.approx(filled, abs=3e-4)


def test_the_families_have_classes_of_their_own() -> None:
    assert isinstance(load_model_config("tiny"), ModelConfig)
    assert load("nuscenes_bev").family == "bev"
    assert load("nuscenes_tpv").features == 24
    assert load("kitti_tpv").features == 3
    assert load("kitti_raw_depth").features == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"family": "tvp"}, "unknown family 'tvp' \\(did you mean 'tpv'\\?\\)"),
        ({"encoder": {"layer": 3}}, "unknown key 'layer' \\(did you mean 'layers'\\?\\)"),
        ({"planes": {"axes": "up"}}, "planes.axes must be forward_left_up or right_forward_up, found 'up'"),
        ({"head": {"colour": False, "classes": [1]}}, "head.classes needs head.colour"),
        ({"input": {"width": 640, "crop": [800, 384]}}, "must fit into the input, found 800x384 pixels for 640x384"),
        ({"input": {"camera_width": 1600}}, "input.camera_width needs input.crop"),
        ({"input": {"scale": 0.5}}, "input.scale needs input.crop"),
        ({"renderer": {"near_density": 3.0}}, "near_density must be 1 with renderer.published.* found 3.0"),
        ({"decision": {"thresholds": [0.0, 0.1]}}, "1 value or one for each of the 16 height layers, found 2"),
    ],
)
def test_what_does_not_hold_together_is_refused_in_one_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        parse_model_config({"name": "probe", "family": "tpv", **change}, "probe.yaml")
