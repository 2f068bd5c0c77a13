# SPDX-License-Identifier: Apache-2.0
"""Which samples train and which are kept for validation: whole drives or ends of drives, never single frames.

Neighbouring frames show the same street, so frames drawn at random would be validated on what was trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfocc_training.dataset.parquet import DatasetError

TRAIN, VAL, GAP = "train", "val", "gap"


@dataclass(frozen=True)
class SplitPlan:
    """How a dataset is split.

    Attributes:
        by: "segments": the end of every drive is for validation; "drives": whole drives are.
        val_share: share of each drive's distance, or of the drives.
        gap_m: metres between the two parts of a drive, which belong to neither.
    """

    by: str = "segments"
    val_share: float = 0.2
    gap_m: float = 30.0

    def __post_init__(self) -> None:
        if self.by not in ("segments", "drives"):
            raise DatasetError(f"a split goes by 'segments' or 'drives', found {self.by!r}")
        if not 0.0 <= self.val_share < 1.0 or not self.gap_m >= 0.0:
            raise DatasetError(
                f"the share for validation must be 0 or more and below 1, and the gap 0 m or more, "
                f"found {self.val_share:g} and {self.gap_m:g}"
            )


def split_drive(distance_m: NDArray[np.float64], plan: SplitPlan) -> list[str]:
    """The split of each sample of one drive, from the distances (N) travelled in metres.

    A drive that would lose more to the gap than it leaves for training is too short to be split: all of it trains.
    """
    if not len(distance_m):
        return []
    length = float(distance_m[-1] - distance_m[0])
    begins = distance_m[0] + (1.0 - plan.val_share) * length
    train_m = begins - plan.gap_m - distance_m[0]
    if plan.val_share == 0.0 or length == 0.0 or train_m < plan.gap_m or train_m <= 0.0:
        return [TRAIN] * len(distance_m)
    return [VAL if d >= begins else GAP if d > begins - plan.gap_m else TRAIN for d in distance_m]


def validation_drives(fingerprints: Mapping[str, str], plan: SplitPlan) -> set[str]:
    """Names of the drives kept for validation: as many as the share says, at least one of two or more.

    Which ones follows from the recordings' fingerprints alone, not from names or order.
    """
    if plan.val_share == 0.0 or len(fingerprints) < 2:
        return set()
    count = min(max(1, round(plan.val_share * len(fingerprints))), len(fingerprints) - 1)
    ranked = sorted(fingerprints, key=lambda name: hashlib.sha256(fingerprints[name].encode()).hexdigest())
    return set(ranked[:count])
