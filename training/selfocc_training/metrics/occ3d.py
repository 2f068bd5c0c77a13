# SPDX-License-Identifier: Apache-2.0
"""mIoU and IoU of Occ3D-nuScenes (Tian et al. 2023), in each of the ways in which papers print them.

All counts go into one matrix for the whole data set, once over the voxels of the camera mask and once over all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_training.metrics.confusion import Absent, Confusion, Integers, confusion, nan_mean
from selfocc_training.metrics.sums import Sums
from selfocc_training.metrics.trim import NO_TRIM, SELFOCC_OCC3D_TRIM, Trim

CLASS_NAMES = (
    "others", "barrier", "bicycle", "bus", "car", "construction_vehicle", "motorcycle", "pedestrian", "traffic_cone",
    "trailer", "truck", "driveable_surface", "other_flat", "sidewalk", "terrain", "manmade", "vegetation", "free",
)  # fmt: skip

FREE_CLASS = 17
"""Class of free voxels, and of sky in images."""

CLASSES_17 = tuple(range(FREE_CLASS))
CLASSES_15 = tuple(c for c in CLASSES_17 if CLASS_NAMES[c] not in ("others", "other_flat"))
"""Papers average over either; where the two left out score 0, the mean over 15 is 17/15 of the other."""


@dataclass(frozen=True)
class Occ3dProtocol:
    """One way to score. Any claim must name it.

    Attributes:
        name: what to call it.
        classes: over which mIoU is the mean.
        absent: what a class is worth that the truth lacks, see ``metrics.confusion``.
        empty: classes that count as empty, true or predicted.
        trim: predicted voxels that are emptied first.
        points: where in its cell a voxel of the network's field is read: at its centre, or as if the first and the
            last cell of each row lay on the borders of the grid, up to half a cell away.
    """

    name: str
    classes: tuple[int, ...] = CLASSES_17
    absent: Absent = "union"
    empty: tuple[int, ...] = (FREE_CLASS,)
    trim: Trim = NO_TRIM
    points: Literal["centres", "ends"] = "centres"

    def query_points(self, grid: VoxelGrid) -> NDArray[np.float32]:
        """(X,Y,Z,3) metres, where the network's field is read for each voxel."""
        if self.points == "centres":
            return grid.centres()
        lines = [np.linspace(lo, hi, n) for lo, hi, n in zip(grid.lower, grid.upper, grid.shape, strict=True)]
        return np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).astype(np.float32)


OCC3D = Occ3dProtocol("occ3d")
"""The benchmark's: mean over 17 classes."""

OCC3D_15 = Occ3dProtocol("occ3d_15", classes=CLASSES_15)
"""Without others and other_flat."""

SPARSEOCC = Occ3dProtocol("sparseocc", absent="truth")
"""SparseOcc's copy leaves out classes that the truth lacks, even where they are predicted."""

_SELFOCC_EMPTY = (FREE_CLASS, CLASS_NAMES.index("others"))

SELFOCC_SCRIPT = Occ3dProtocol("selfocc_script", CLASSES_17[1:], "one", _SELFOCC_EMPTY, SELFOCC_OCC3D_TRIM, "ends")
"""What SelfOcc's evaluation prints: others are empty, upper layers and rim are emptied, mean over 16 classes."""

SELFOCC_PAPER = Occ3dProtocol("selfocc_paper", CLASSES_17, "zero", _SELFOCC_EMPTY, SELFOCC_OCC3D_TRIM, "ends")
"""What SelfOcc's paper prints: the same, but others count with 0: mean over 17 classes."""

PROTOCOLS = {p.name: p for p in (OCC3D, OCC3D_15, SPARSEOCC, SELFOCC_SCRIPT, SELFOCC_PAPER)}


@dataclass(frozen=True, eq=False)
class Occ3dCounts(Sums):
    """Counts over one set of voxels: 18 x 18 classes, 17 being empty; and 2 x 2, free and occupied."""

    classes: Confusion
    occupied: Confusion


@dataclass(frozen=True, eq=False)
class Occ3dScore(Sums):
    """Counts of any number of samples under one protocol: over the camera mask, and over the whole grid."""

    protocol: Occ3dProtocol
    seen: Occ3dCounts
    everywhere: Occ3dCounts

    @classmethod
    def zeros(cls, protocol: Occ3dProtocol = OCC3D) -> Occ3dScore:
        """Nothing scored yet."""
        nothing = Occ3dCounts(Confusion.zeros(len(CLASS_NAMES)), Confusion.zeros(2))
        return cls(protocol, nothing, nothing)

    def class_iou(self, masked: bool = True) -> NDArray[np.float64]:
        """(18,) IoU of each class, 0..1 or NaN; free included, which mIoU leaves out."""
        return self._counts(masked).classes.iou(self.protocol.absent)

    def miou(self, masked: bool = True) -> float:
        """Mean IoU over the protocol's classes, 0..1, of those that are not NaN."""
        return nan_mean(self.class_iou(masked)[list(self.protocol.classes)])

    def iou(self, masked: bool = True) -> float:
        """IoU of occupied voxels, whatever their class, 0..1; NaN where neither is anything."""
        return float(self._counts(masked).occupied.iou()[1])

    def figures(self) -> dict[str, float]:
        """``miou`` and ``iou`` over the camera mask and ``_no_mask``, and the masked IoU of each class by name."""
        out = {"miou": self.miou(), "iou": self.iou(), "miou_no_mask": self.miou(False), "iou_no_mask": self.iou(False)}
        iou = self.class_iou()
        return out | {f"iou_{CLASS_NAMES[c]}": float(iou[c]) for c in self.protocol.classes}

    def _counts(self, masked: bool) -> Occ3dCounts:
        return self.seen if masked else self.everywhere


def score_occ3d(
    predicted: Integers,
    true: Integers,
    camera_mask: NDArray[np.bool_],
    protocol: Occ3dProtocol = OCC3D,
    occupied: NDArray[np.bool_] | None = None,
    known: NDArray[np.bool_] | None = None,
) -> Occ3dScore:
    """Score one sample; all arrays (X,Y,Z).

    Args:
        predicted: classes 0..17. Where ``occupied`` says free it does not matter what they are.
        true: classes 0..17.
        camera_mask: bool, voxels that the cameras see.
        protocol: how to score.
        occupied: bool, voxels that are predicted to be anything; those of a class that is not empty, if None. IoU is
            of these: a network may know that something is there and call it by an empty class.
        known: bool, voxels whose true class is known, the only ones that count; all, as in Occ3D, if None.
    """
    kept = protocol.trim.kept(predicted.shape)
    if occupied is None:
        occupied = ~np.isin(predicted, protocol.empty)
    occupied = occupied & kept
    told = np.where(occupied & ~np.isin(predicted, protocol.empty), predicted, FREE_CLASS)
    solid = ~np.isin(true, protocol.empty)
    truth = np.where(solid, true, FREE_CLASS)

    def counts(where: NDArray[np.bool_] | None) -> Occ3dCounts:
        return Occ3dCounts(
            confusion(told, truth, len(CLASS_NAMES), where),
            confusion(occupied.view(np.uint8), solid.view(np.uint8), 2, where),
        )

    seen = camera_mask.astype(np.bool_)
    return Occ3dScore(protocol, counts(seen if known is None else seen & known), counts(known))
