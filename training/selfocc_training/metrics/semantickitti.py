# SPDX-License-Identifier: Apache-2.0
"""Scene completion on SemanticKITTI (Behley et al. 2019): IoU, precision and recall of occupied voxels, mIoU.

Arrays are indexed (forward, lateral, up). The data set's lateral axis goes to the left; SelfOcc's goes to the right,
so that its predictions are compared with flipped truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from selfocc_training.metrics.confusion import Absent, Confusion, Integers, confusion, nan_mean
from selfocc_training.metrics.sums import Sums
from selfocc_training.metrics.trim import NO_TRIM, Trim

UNKNOWN_CLASS = 255
"""True class of voxels that no scan of the whole drive has seen; they are not scored."""

CLASS_NAMES = (
    "empty", "car", "bicycle", "motorcycle", "truck", "other-vehicle", "person", "bicyclist", "motorcyclist", "road",
    "parking", "sidewalk", "other-ground", "building", "fence", "vegetation", "trunk", "terrain", "pole",
    "traffic-sign",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class SemanticKittiScore(Sums):
    """Counts of any number of samples.

    Attributes:
        occupied: free and occupied over voxels that are known.
        strict: the same over all voxels, unknown ones being free: what is predicted there is a false alarm.
        classes: 20 classes, 0 being empty, over voxels that are known.
    """

    occupied: Confusion = field(default_factory=lambda: Confusion.zeros(2))
    strict: Confusion = field(default_factory=lambda: Confusion.zeros(2))
    classes: Confusion = field(default_factory=lambda: Confusion.zeros(len(CLASS_NAMES)))

    def miou(self, absent: Absent = "zero") -> float:
        """Mean IoU over the 19 classes, 0..1; SelfOcc has ``absent="one"``. Over the validation set none is absent."""
        return nan_mean(self.classes.iou(absent)[1:])

    def figures(self) -> dict[str, float]:
        """``iou``, ``precision`` and ``recall`` of occupied voxels as SceneRF and SelfOcc print them, and ``miou``."""
        counts = self.occupied
        return {
            "iou": float(counts.iou()[1]),
            "precision": float(counts.precision()[1]),
            "recall": float(counts.recall()[1]),
            "miou": self.miou(),
        }


def score_semantickitti(
    occupied: NDArray[np.bool_], true: Integers, classes: Integers | None = None, trim: Trim = NO_TRIM
) -> SemanticKittiScore:
    """Score one sample; all arrays (X,Y,Z).

    Args:
        occupied: bool, voxels that are predicted to be anything.
        true: classes 0..19, or 255 where unknown.
        classes: predicted classes 0..19; they matter where ``occupied``. Without any every occupied voxel is called
            class 1, as SceneRF does.
        trim: predicted voxels that are emptied first; SelfOcc's are ``metrics.trim.SELFOCC_SEMANTICKITTI_TRIM``.
    """
    occupied = occupied & trim.kept(occupied.shape)
    known = true != UNKNOWN_CLASS
    solid = (known & (true != 0)).view(np.uint8)
    told = occupied.astype(np.uint8) if classes is None else np.where(occupied, classes, 0)
    return SemanticKittiScore(
        confusion(occupied.view(np.uint8), solid, 2, known),
        confusion(occupied.view(np.uint8), solid, 2),
        confusion(told, true, len(CLASS_NAMES), known),
    )
