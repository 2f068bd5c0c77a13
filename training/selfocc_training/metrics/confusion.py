# SPDX-License-Identifier: Apache-2.0
"""Confusion matrices, and the IoU of their classes.

Figures of one and the same matrix differ by what a class is worth that the truth lacks (``Absent``):

- ``"union"``: NaN, which means leave out, only where the prediction lacks it too (Occ3D's devkit). A false alarm is 0.
- ``"truth"``: NaN wherever the truth lacks it (SparseOcc's mIoU).
- ``"one"``: 1 wherever the truth lacks it, false alarms or none (SelfOcc).
- ``"zero"``: 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from selfocc_training.metrics.sums import Sums

Absent = Literal["union", "truth", "one", "zero"]
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Confusion(Sums):
    """How often class ``true`` was called ``predicted``.

    Attributes:
        counts: (C, C) int64, indexed [true, predicted].
    """

    counts: NDArray[np.int64]

    @classmethod
    def zeros(cls, classes: int) -> Confusion:
        """Nothing counted yet."""
        return cls(np.zeros((classes, classes), np.int64))

    @property
    def true(self) -> NDArray[np.int64]:
        """(C,) how often each class is there."""
        true: NDArray[np.int64] = self.counts.sum(axis=1)
        return true

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(C,) how often each class is predicted."""
        predicted: NDArray[np.int64] = self.counts.sum(axis=0)
        return predicted

    @property
    def hits(self) -> NDArray[np.int64]:
        """(C,) how often rightly so."""
        return np.diagonal(self.counts).copy()

    def iou(self, absent: Absent = "union") -> NDArray[np.float64]:
        """(C,) intersection over union of each class."""
        iou = ratio(self.hits, self.true + self.predicted - self.hits)
        if absent == "truth":
            iou[self.true == 0] = np.nan
        elif absent == "one":
            iou[self.true == 0] = 1.0
        elif absent == "zero":
            iou[self.true == 0] = 0.0
        return iou

    def precision(self) -> NDArray[np.float64]:
        """(C,) share of what is predicted that is so; NaN where nothing is."""
        return ratio(self.hits, self.predicted)

    def recall(self) -> NDArray[np.float64]:
        """(C,) share of what is so that is predicted; NaN where nothing is."""
        return ratio(self.hits, self.true)


def confusion(predicted: Integers, true: Integers, classes: int, where: NDArray[np.bool_] | None = None) -> Confusion:
    """Count pairs of classes.

    Args:
        predicted, true: integers of one shape, 0..classes - 1 wherever they count.
        where: bool of the same shape, which of them count; all if None.

    Raises:
        ValueError: shapes differ, or a class that counts is none.
    """
    if predicted.shape != true.shape or (where is not None and where.shape != true.shape):
        shapes = [a.shape for a in (predicted, true, where) if a is not None]
        raise ValueError(f"classes predicted, true and where they count must be of one shape, found {shapes}")
    p, t = (a.ravel() if where is None else a[where] for a in (predicted, true))
    for name, labels in (("predicted", p), ("true", t)):
        if labels.size and (labels.min() < 0 or labels.max() >= classes):
            low, high = int(labels.min()), int(labels.max())
            raise ValueError(f"{name} classes must lie within 0..{classes - 1}, found {low}..{high}")
    pairs = t.astype(np.int64) * classes + p
    return Confusion(np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64))


def nan_mean(values: NDArray[np.float64]) -> float:
    """Mean of those that are not NaN; NaN if all are."""
    told = values[~np.isnan(values)]
    return float(told.mean()) if told.size else float("nan")


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Quotient, and NaN where ``whole`` is 0."""
    out = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=out, where=whole != 0)
    return out
