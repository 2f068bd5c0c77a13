# SPDX-License-Identifier: Apache-2.0
"""Voxel scores by hand: what each protocol makes of one prediction, and of classes that are not there."""

from __future__ import annotations

import numpy as np
import pytest

from selfocc_ros.geometry.voxels import OCC3D as GRID
from selfocc_training.metrics.confusion import Absent, confusion
from selfocc_training.metrics.occ3d import (
    CLASSES_15,
    CLASSES_17,
    FREE_CLASS,
    OCC3D,
    OCC3D_15,
    SELFOCC_PAPER,
    SELFOCC_SCRIPT,
    score_occ3d,
)
from selfocc_training.metrics.semantickitti import UNKNOWN_CLASS, score_semantickitti
from selfocc_training.metrics.trim import SELFOCC_OCC3D_TRIM, Trim

NAN = float("nan")


@pytest.mark.parametrize(
    ("absent", "expected"),
    [
        ("union", [2 / 4, 0.0, NAN, 0.0]),
        ("truth", [2 / 4, NAN, NAN, 0.0]),
        ("one", [2 / 4, 1.0, 1.0, 0.0]),
        ("zero", [2 / 4, 0.0, 0.0, 0.0]),
    ],
)
def test_classes_that_are_absent(absent: Absent, expected: list[float]) -> None:
    """Class 1 is predicted and never true, 2 is neither, 3 is true and never predicted."""
    true, predicted = np.array([0, 0, 0, 3, 3]), np.array([0, 0, 1, 1, 0])
    np.testing.assert_array_equal(confusion(predicted, true, 4).iou(absent), expected)


def test_confusion_refuses_what_is_no_class() -> None:
    labels = np.array([0, 1, 2])
    with pytest.raises(ValueError, match=r"true classes must lie within 0\.\.2, found 0\.\.255"):
        confusion(labels, np.array([0, 1, 255]), 3)
    ignored = confusion(labels, np.array([0, 1, 255], np.uint8), 3, np.array([True, True, False]))
    assert ignored.counts.sum() == 2
    with pytest.raises(ValueError, match="one shape"):
        confusion(labels, labels[:2], 3)


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A block of cars predicted half right in the middle, one in the rim, others predicted as others."""
    true, predicted = np.full((2, *GRID.shape), FREE_CLASS)
    true[100:104, 100, 3] = predicted[102:106, 100, 3] = 4
    predicted[2, 100, 3] = predicted[100, 100, 13] = 4
    true[110:112, 100, 3] = predicted[110:112, 100, 3] = 0
    return predicted, true, np.ones(GRID.shape, bool)


def test_protocols_differ_as_they_say() -> None:
    predicted, true, mask = scene()
    official = score_occ3d(predicted, true, mask)
    assert official.iou() == pytest.approx(4 / 10)
    assert official.miou() == pytest.approx((2 / 8 + 1) / 2)
    assert score_occ3d(predicted, true, mask, OCC3D_15).miou() == pytest.approx(2 / 8)
    script = score_occ3d(predicted, true, mask, SELFOCC_SCRIPT)
    assert script.iou() == pytest.approx(2 / 6)
    assert script.miou() == pytest.approx((2 / 6 + 15) / 16)
    assert score_occ3d(predicted, true, mask, SELFOCC_PAPER).miou() == pytest.approx(2 / 6 / 17)


def test_the_mask_bounds_the_masked_figures_alone() -> None:
    predicted, true, mask = scene()
    mask[104:] = False
    figures = score_occ3d(predicted, true, mask, OCC3D_15).figures()
    assert figures["miou"] == pytest.approx(2 / 6)
    assert figures["iou_car"] == figures["miou"]
    assert figures["miou_no_mask"] == pytest.approx(2 / 8)
    assert len(figures) == 4 + 15


def test_class_sets() -> None:
    assert len(CLASSES_17) == 17
    assert set(CLASSES_17) - set(CLASSES_15) == {0, 12}


def test_query_points() -> None:
    ends = SELFOCC_SCRIPT.query_points(GRID)
    np.testing.assert_allclose(ends[0, 0, 0], GRID.lower)
    np.testing.assert_allclose(ends[-1, -1, -1], GRID.upper)
    np.testing.assert_array_equal(OCC3D.query_points(GRID), GRID.centres())


def test_trim() -> None:
    kept = SELFOCC_OCC3D_TRIM.kept(GRID.shape)
    assert kept.sum() == 188 * 188 * 12
    assert kept[6:-6, 6:-6, :12].all()
    assert not Trim(high=(0, 0, 9)).kept((4, 4, 4)).any()
    with pytest.raises(ValueError, match="no fewer than 0"):
        Trim(low=(0, -1, 0))


def test_semantickitti_by_hand() -> None:
    true = np.array([[[0, 0, 1, 1, 9, UNKNOWN_CLASS]]])
    occupied = np.array([[[True, False, True, False, True, True]]])
    score = score_semantickitti(occupied, true, np.full(true.shape, 9))
    figures = score.figures()
    assert figures["iou"] == pytest.approx(2 / 4)
    assert figures["precision"] == pytest.approx(2 / 3)
    assert figures["recall"] == pytest.approx(2 / 3)
    assert figures["miou"] == pytest.approx((1 / 3) / 19)
    assert score.strict.iou()[1] == pytest.approx(2 / 5)
    assert score.miou(absent="one") == pytest.approx((1 / 3 + 17) / 19)
