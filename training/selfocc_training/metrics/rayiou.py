# SPDX-License-Identifier: Apache-2.0
"""RayIoU (SparseOcc, Liu et al. 2024): what a LiDAR would measure in the predicted grid and in the true one.

A class hits where both rays end in it and their depths differ by less than 1, 2 or 4 m. Unlike IoU of voxels it needs
no camera mask, and does not reward surfaces for being thick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfocc_ros.geometry.voxels import OCC3D, VoxelGrid
from selfocc_training.metrics.confusion import Integers, nan_mean, ratio
from selfocc_training.metrics.occ3d import CLASSES_15, CLASSES_17, FREE_CLASS
from selfocc_training.metrics.raycast import first_hits
from selfocc_training.metrics.sums import Sums

THRESHOLDS_M = (1.0, 2.0, 4.0)
MOST_ORIGINS = 8
ORIGIN_LIMIT_M = 39.0

_CLASSES = len(CLASSES_17)
_TOP_PITCH = 0.21
_AZIMUTHS = 360


@dataclass(frozen=True, eq=False)
class RayScore(Sums):
    """Rays counted, of those that hit anything in the true grid.

    Attributes:
        true, predicted: (17,) rays whose true or predicted label is each class.
        hits: (3,17) rays that agree in class, and in depth to within each of ``THRESHOLDS_M``.
    """

    true: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_CLASSES, np.int64))
    predicted: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_CLASSES, np.int64))
    hits: NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(THRESHOLDS_M), _CLASSES), np.int64))

    def class_iou(self) -> NDArray[np.float64]:
        """(3,17) IoU by threshold and class; NaN where a class is neither true nor predicted on any ray."""
        return ratio(self.hits, self.true + self.predicted - self.hits)

    def at(self, threshold: float, classes: Sequence[int] = CLASSES_17) -> float:
        """RayIoU at one of ``THRESHOLDS_M``: the mean over classes, 0..1."""
        return nan_mean(self.class_iou()[THRESHOLDS_M.index(threshold), list(classes)])

    def mean(self, classes: Sequence[int] = CLASSES_17) -> float:
        """RayIoU: the mean over classes and thresholds, 0..1."""
        return nan_mean(np.array([self.at(threshold, classes) for threshold in THRESHOLDS_M]))

    def figures(self) -> dict[str, float]:
        """``rayiou`` over 17 classes, as SparseOcc defines it, also by threshold; and over 15, which others print."""
        out = {"rayiou": self.mean(), "rayiou_15": self.mean(CLASSES_15)}
        return out | {f"rayiou@{threshold:g}": self.at(threshold) for threshold in THRESHOLDS_M}


def ray_directions() -> NDArray[np.float32]:
    """(14040,3) unit vectors, by pitch and then by azimuth.

    Ten pitches down, those of rings on flat ground which grow evenly with k, then on in steps like the last one until
    0.21 rad above the horizon; 360 azimuths each.
    """
    pitches = [-(np.pi / 2 - np.arctan(k + 1)) for k in range(10)]
    step = [b - a for a, b in pairwise(pitches)][-1]
    while pitches[-1] < _TOP_PITCH:
        pitches.append(pitches[-1] + step)
    pitch, azimuth = np.meshgrid(pitches, np.deg2rad(np.arange(_AZIMUTHS)), indexing="ij")
    unit = [np.cos(pitch) * np.cos(azimuth), np.cos(pitch) * np.sin(azimuth), np.sin(pitch)]
    directions: NDArray[np.float32] = np.stack(unit, axis=-1).reshape(-1, 3).astype(np.float32)
    return directions


def choose_origins(positions: NDArray[np.floating]) -> NDArray[np.float32]:
    """Where rays begin: (O,3) of the LiDAR's positions (T,3) over a whole drive, in the sample's frame, metres.

    Those less than 39 m ahead and aside; eight of them, evenly over time, if they are more.
    """
    near = positions[(np.abs(positions[:, :2]) < ORIGIN_LIMIT_M).all(axis=1)]
    if len(near) > MOST_ORIGINS:
        near = near[np.round(np.linspace(0, len(near) - 1, MOST_ORIGINS)).astype(np.int64)]
    chosen: NDArray[np.float32] = near.astype(np.float32)
    return chosen


class RayCaster:
    """The rays of one sample, to be cast into the grids of truth and prediction alike.

    Args:
        origins: (O,3) metres in the frame of the grid.
        directions: (D,3) unit vectors.
        grid: of cubic cells.
        device: where to trace.
    """

    def __init__(
        self,
        origins: NDArray[np.floating],
        directions: NDArray[np.floating] | None = None,
        grid: VoxelGrid = OCC3D,
        device: torch.device | str = "cpu",
    ) -> None:
        if not np.allclose(grid.cell, grid.cell[0]):
            raise ValueError(f"RayIoU needs cubic cells, found {grid.cell} m")
        self.grid = grid
        self.device = torch.device(device)
        directions = ray_directions() if directions is None else directions
        starts = torch.as_tensor(origins, dtype=torch.float32)[:, None, :]
        units = torch.as_tensor(directions, dtype=torch.float32)
        self.shape = (starts.shape[0], units.shape[0])
        # The official rays are given by their origins and by the points one metre on, in cells and in single
        # precision, which turns them by some 1e-6: enough that one in 3000 grazes another voxel.
        ends = self._cells((starts + units).reshape(-1, 3)).double()
        self._origins = self._cells(starts.expand(*self.shape, 3).reshape(-1, 3)).double()
        along = ends - self._origins
        self._directions = along / torch.linalg.vector_norm(along, dim=1, keepdim=True)

    def cast(self, labels: Integers) -> tuple[Tensor, Tensor]:
        """Labels (O,D) uint8 and depths (O,D) float64 in metres, to where rays leave the voxels (X,Y,Z) they hit.

        Rays that hit none have the label 17, and the distance to the grid's border.
        """
        if tuple(labels.shape) != self.grid.shape:
            raise ValueError(f"labels must be of the grid's shape {self.grid.shape}, found {tuple(labels.shape)}")
        volume = torch.as_tensor(np.ascontiguousarray(labels, np.uint8)).to(self.device)
        hit, distance = first_hits(volume, self._origins, self._directions, FREE_CLASS)
        return hit.reshape(self.shape), distance.reshape(self.shape) * float(self.grid.cell[0])

    def _cells(self, points: Tensor) -> Tensor:
        lower = torch.tensor(self.grid.lower, dtype=torch.float32)
        return (points - lower) / torch.tensor(self.grid.cell, dtype=torch.float32)


def count_rays(
    predicted: Tensor, predicted_depth: Tensor, true: Tensor, true_depth: Tensor, free: int = FREE_CLASS
) -> RayScore:
    """Count rays of any shape: labels 0..17 and depths in metres."""
    kept = true != free
    p, t = predicted[kept].long(), true[kept].long()
    error = (predicted_depth[kept] - true_depth[kept]).abs()

    def histogram(labels: Tensor) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = torch.bincount(labels, minlength=_CLASSES + 1)[:_CLASSES].cpu().numpy()
        return counts

    hits = [histogram(t[(p == t) & (error < threshold)]) for threshold in THRESHOLDS_M]
    return RayScore(histogram(t), histogram(p), np.stack(hits))


def score_rays(predicted: Integers, true: Integers, caster: RayCaster) -> RayScore:
    """Score one sample: classes (X,Y,Z), 17 being free."""
    return count_rays(*caster.cast(predicted), *caster.cast(true))
