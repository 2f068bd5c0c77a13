# SPDX-License-Identifier: Apache-2.0
"""Depth errors by hand, and how they are averaged."""

from __future__ import annotations

import numpy as np
import pytest

from selfocc_training.metrics.depth import (
    ERRORS,
    DepthErrors,
    depth_errors,
    garg_crop,
    median_scale,
    sample_depths,
    score_depths,
    score_novel_depths,
)

TRUE = np.array([10.0, 20.0])


def test_errors_by_hand() -> None:
    errors = dict(zip(ERRORS, depth_errors(np.array([11.0, 10.0]), TRUE), strict=True))
    assert errors["abs_rel"] == pytest.approx((0.1 + 0.5) / 2)
    assert errors["sq_rel"] == pytest.approx((1 / 10 + 100 / 20) / 2)
    assert errors["rmse"] == pytest.approx(np.sqrt((1 + 100) / 2))
    assert errors["rmse_log"] == pytest.approx(np.sqrt((np.log(1.1) ** 2 + np.log(2) ** 2) / 2))
    assert [errors[a] for a in ("a1", "a2", "a3")] == [0.5, 0.5, 0.5]
    assert np.isnan(depth_errors(TRUE[:0], TRUE[:0])).all()


def test_median_scaling_forgives_scale_and_is_clipped_last() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(2, 70, (1, 101))
    mask = np.ones_like(true, bool)
    score = score_depths(true * 3.0, true, mask)
    assert score.median.over_views()["abs_rel"] == pytest.approx(0.0, abs=1e-12)
    assert score.median.over_views()["scale"] == pytest.approx(1 / 3)
    assert score.raw.over_views()["abs_rel"] > 0.5
    assert score.raw.over_views()["scale"] == 1.0
    assert median_scale(np.array([1.0, 2.0, 3.0, 100.0]), np.array([4.0, 1.0, 9.0, 9.0])) == 2.0
    assert np.isfinite(score_depths(true * 0.0, true, mask).median.totals).all()


def test_cameras_count_the_same_however_many_images_they_have() -> None:
    true = np.full((2, 4), 10.0)
    both, first = np.ones((2, 4), bool), np.array([[True] * 4, [False] * 4])
    once = score_depths(np.array([[12.0] * 4, [15.0] * 4]), true, both)
    total = DepthErrors.zeros(2) + once + score_depths(true * 1.2, true, first)
    assert total.raw.images.tolist() == [2, 1]
    assert total.raw.over_views()["abs_rel"] == pytest.approx((0.2 + 0.5) / 2)
    assert total.raw.over_images()["abs_rel"] == pytest.approx((0.2 + 0.2 + 0.5) / 3)
    assert np.isnan(DepthErrors.zeros(2).raw.over_views()["rmse"])
    assert np.isnan(DepthErrors.zeros(2).raw.over_images()["rmse"])
    seen = score_depths(true * 1.2, true, first).raw
    assert seen.over_views()["abs_rel"] == pytest.approx(0.2)
    assert np.isnan(seen.by_view()[1]).all()


def test_novel_views_by_distance() -> None:
    true = np.full((4, 5), 10.0)
    predicted = true * np.array([1.1, 1.3, 1.2, 9.0])[:, None]
    score = score_novel_depths(predicted, true, np.ones_like(true, bool), np.array([0.5, 0.7, 10.0, 10.1])).raw
    assert score.images.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert score.over_images()["abs_rel"] == pytest.approx(0.2)
    assert score.by_view()[0, 0] == pytest.approx(0.2)


def test_maps_are_read_between_pixel_centres() -> None:
    maps = np.arange(12.0).reshape(1, 3, 4)
    read = sample_depths(maps, np.array([[[0.0, 0.0], [1.0, 1.0], [0.5, 0.5], [1.5, -1.0]]]))
    np.testing.assert_allclose(read, [[0.0, 11.0, 5.5, 3.0]])


def test_garg_crop() -> None:
    rows, columns = np.nonzero(garg_crop(375, 1242))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (153, 371, 44, 1197)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        score_depths(TRUE[None], TRUE[None], np.ones((1, 3), bool))
