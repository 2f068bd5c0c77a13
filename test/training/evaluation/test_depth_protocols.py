# SPDX-License-Identifier: Apache-2.0
"""Depth protocols on a dataset whose right answers are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from selfocc_training.dataset.dataset import Dataset
from selfocc_training.evaluation.classes import ProtocolError
from selfocc_training.evaluation.depth import View
from selfocc_training.evaluation.flat_ground import choose_far
from selfocc_training.evaluation.run import evaluate
from selfocc_training.evaluation.scorer import Settings

ONE_TO_ONE = 2e-3  # depth maps hold 1/256 m


def settings(protocol: str, **changes: Any) -> Settings:
    return Settings(protocol, **{"stride": 1, "blind": False, "depth_m": (1.0, 80.0), **changes})


def test_depth_of_a_known_error(toy: Callable[..., Any], labelled: Dataset) -> None:
    figures = evaluate(toy(labelled, depth_factor=1.2), labelled, settings("depth")).figures
    assert figures["abs_rel"] == pytest.approx(0.2, abs=ONE_TO_ONE)
    assert figures["a1"] == 1.0
    assert figures["median_abs_rel"] == pytest.approx(0.0, abs=ONE_TO_ONE)
    assert figures["abs_rel_flat_ground"] == pytest.approx(0.0, abs=ONE_TO_ONE)
    for camera in labelled.cameras:
        assert figures[f"abs_rel_{camera}"] == pytest.approx(0.2, abs=ONE_TO_ONE)
    # All that the depth maps hold is ground.
    assert np.isnan(figures["abs_rel_above_ground"])


def test_limits_and_travel(toy: Callable[..., Any], labelled: Dataset) -> None:
    narrow = evaluate(toy(labelled), labelled, settings("depth", depth_m=(3.0, 5.0)))
    assert "3 to 5 m" in narrow.scorer.title
    for view in narrow.scorer.truth(0):
        assert ((view.true > 3.0) & (view.true < 5.0)).all()
    cropped = evaluate(toy(labelled), labelled, settings("depth", samples=1, garg_crop=True))
    assert "Garg" in cropped.scorer.title
    for view in cropped.scorer.truth(0):
        assert 35 > view.pixels[:, 1].max() > view.pixels[:, 1].min() >= 14
    default = evaluate(toy(labelled), labelled, settings("depth", depth_m=None, samples=1))
    assert "1 to 80 m, SelfOcc's limits" in default.scorer.title
    moving = evaluate(toy(labelled), labelled, settings("depth", min_travel_m=0.15))
    assert len(moving.indices) == len(default.scorer.dataset) // 5
    with pytest.raises(ProtocolError, match="travel"):
        evaluate(toy(labelled), labelled, settings("depth", min_travel_m=2.0))


def test_novel_views_are_rendered_from_the_present_volume(toy: Callable[..., Any], labelled: Dataset) -> None:
    network = toy(labelled, depth_factor=0.9)
    evaluation = evaluate(network, labelled, settings("novel_depth", samples=2))
    figures = evaluation.figures
    assert figures["abs_rel"] == pytest.approx(0.1, abs=ONE_TO_ONE)
    # Labels lie 5 m apart. The first sample has them at 5 and at 10 m, the last one that has any at 1 m.
    told = [name for name in figures if name.endswith("_m") and np.isfinite(figures[name])]
    assert told == ["abs_rel_0_to_1_m", "abs_rel_4_to_5_m", "abs_rel_9_to_10_m"]
    first, last = evaluation.indices
    network.poses.clear()
    views = evaluation.scorer.truth(first)
    assert {view.name for view in views} == set(labelled.cameras)
    after = labelled[first + 5]
    expected = np.linalg.inv(labelled[first].odom_from_base) @ after.images[0].odom_from_camera
    np.testing.assert_allclose(views[0].base_from_camera, expected, atol=1e-9)
    assert views[0].place == pytest.approx(labelled.distance_m[first + 5] - labelled.distance_m[first])
    assert last == 24


def test_a_map_is_read_between_its_pixels(labelled: Dataset) -> None:
    image = labelled[0].images[0]
    slope = np.tile(np.arange(2.0, 2.0 + image.camera.width, dtype=np.float32), (image.camera.height, 1))
    view = View.of(image.name, 0, image.camera, image.base_from_camera, slope, (1.0, 1e3), 0.0)
    inside = view.pixels[:, 0] <= (image.camera.width - 1) // 4 * 4
    read = view.read(slope[::4, ::4], 4)
    np.testing.assert_allclose(read[inside], view.true[inside], rtol=1e-4)


def test_what_is_above_ground_follows_from_the_true_points(labelled: Dataset) -> None:
    image = labelled[0].image("front")
    assert image is not None
    near = np.full((image.camera.height, image.camera.width), 2.0, np.float32)
    view = View.of("front", 0, image.camera, image.base_from_camera, near, (1.0, 80.0), 0.0)
    # Two metres ahead of a camera 1.5 m high that looks along the ground.
    heights = 1.5 - 2.0 * (view.pixels[:, 1] - image.camera.matrix[1, 2]) / image.camera.matrix[1, 1]
    np.testing.assert_array_equal(view.above, heights > 0.3)


def test_flat_ground_looks_as_far_as_is_best() -> None:
    true = np.array([5.0, 12.0, 12.0], np.float32)
    assert choose_far([np.array([5.0, np.inf, 40.0], np.float32)], [true], 9.0) == 12.0
    assert choose_far([], [], 9.0) == 9.0


def test_fault_no_depth_maps(toy: Callable[..., Any], bare: Dataset) -> None:
    for protocol in ("depth", "novel_depth"):
        with pytest.raises(ProtocolError, match="no depth maps"):
            evaluate(toy(bare), bare, settings(protocol))
