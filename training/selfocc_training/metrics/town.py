# SPDX-License-Identifier: Apache-2.0
"""Scores of occupancy and depth, and what a network that looks at nothing would score.

- IoU (intersection over union) of occupied voxels, over the voxels that the cameras see; above ground, over those of
  them whose lower face lies more than 0.3 m above the true ground.
- AbsRel, mean |predicted - true| / true of z-depth, over pixels whose true depth is under 25 m; above ground, over
  those of them that do not show ground.
- Flat ground: the layers at ground height are occupied, and depth is that of the plane z = 0. Plain IoU and AbsRel
  flatter whoever knows no more than that.

Scores are sums of counts, so those of samples add up to those of a drive. Everything here is plain numpy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.voxels import VoxelGrid

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]

GROUND_CLASSES = (11, 12, 13, 14)
"""Occ3D's driveable_surface, other_flat, sidewalk and terrain."""

MAX_DEPTH_M = 25.0
"""Pixels of a true depth beyond this are not scored."""

PREDICTED_DEPTH_M = (0.1, 80.0)
"""Predicted depths are clipped to this; one that is not finite counts as the farthest."""

FLAT_GROUND_FAR_M = 9.0
"""Depth in metres that flat ground gives to rays which do not meet the plane before, those above the horizon too.

It is the one of least AbsRel on training drives (town seeds 0 to 9: 0.278; with 25 m it would be 0.949), so that the
baseline knows how wide a street is, and beating it takes more than that."""

RINGS_M = (0.0, 10.0, 20.0, 30.0, 40.0)
"""Horizontal distances from base_link between which IoU above ground is told separately."""


@dataclass(frozen=True)
class Counts:
    """Voxels counted: predicted and true, predicted and free, missed."""

    hits: int = 0
    false: int = 0
    missed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.hits + other.hits, self.false + other.false, self.missed + other.missed)

    @property
    def iou(self) -> float:
        """Intersection over union; NaN where neither is anything."""
        return _ratio(self.hits, self.hits + self.false + self.missed)

    @property
    def precision(self) -> float:
        """Share of the predicted voxels that are truly occupied; NaN where nothing is predicted."""
        return _ratio(self.hits, self.hits + self.false)

    @property
    def recall(self) -> float:
        """Share of the truly occupied voxels that are predicted; NaN where there are none."""
        return _ratio(self.hits, self.hits + self.missed)


@dataclass(frozen=True)
class Errors:
    """A sum of relative errors over a number of pixels."""

    total: float = 0.0
    count: int = 0

    def __add__(self, other: Errors) -> Errors:
        return Errors(self.total + other.total, self.count + other.count)

    @property
    def mean(self) -> float:
        """Mean over the pixels; NaN without any."""
        return _ratio(self.total, self.count)


@dataclass(frozen=True)
class OccupancyScore:
    """Voxel counts of any number of samples: over the mask, above ground, and above ground by distance."""

    all: Counts = field(default_factory=Counts)
    above: Counts = field(default_factory=Counts)
    rings: tuple[Counts, ...] = tuple(Counts() for _ in RINGS_M[1:])

    def __add__(self, other: OccupancyScore) -> OccupancyScore:
        rings = tuple(a + b for a, b in zip(self.rings, other.rings, strict=True))
        return OccupancyScore(self.all + other.all, self.above + other.above, rings)


@dataclass(frozen=True)
class DepthScore:
    """Depth errors of any number of images: all pixels, and those that are not ground."""

    all: Errors = field(default_factory=Errors)
    above: Errors = field(default_factory=Errors)

    def __add__(self, other: DepthScore) -> DepthScore:
        return DepthScore(self.all + other.all, self.above + other.above)


def count(predicted: Bools, true: Bools, where: Bools) -> Counts:
    """Count voxels; all three (X,Y,Z) bool."""
    p, t = predicted[where], true[where]
    hits = int(np.count_nonzero(p & t))
    return Counts(hits, int(np.count_nonzero(p)) - hits, int(np.count_nonzero(t)) - hits)


def score_occupancy(grid: VoxelGrid, predicted: Bools, true: Bools, mask: Bools, above: Bools) -> OccupancyScore:
    """Score one sample; all arrays (X,Y,Z) bool.

    Args:
        grid: where the voxels are, in base_link.
        predicted, true: which voxels are occupied. What a prediction calls unknown is not occupied.
        mask: voxels that the cameras see.
        above: voxels above the true ground.
    """
    seen_above = mask & above
    centres = grid.centres()[:, :, 0, :2]
    distance = np.hypot(centres[..., 0], centres[..., 1])[:, :, None]
    rings = tuple(
        count(predicted, true, seen_above & (distance >= near) & (distance < far)) for near, far in pairwise(RINGS_M)
    )
    return OccupancyScore(count(predicted, true, mask), count(predicted, true, seen_above), rings)


def score_depth(
    predicted: Floats, true: Floats, classes: NDArray[np.uint8], max_depth: float = MAX_DEPTH_M
) -> DepthScore:
    """Score one image.

    Args:
        predicted: (H,W) z-depth in metres.
        true: (H,W) true z-depth, inf for sky.
        classes: (H,W) Occ3D class of what each pixel shows.
        max_depth: pixels of a true depth from here on are not scored, metres.
    """
    near, far = PREDICTED_DEPTH_M
    scored = (true > 0) & (true < max_depth)
    guess = np.clip(np.where(np.isfinite(predicted), predicted, far), near, far)[scored].astype(np.float64)
    truth = true[scored].astype(np.float64)
    errors = np.abs(guess - truth) / truth
    standing = ~np.isin(classes[scored], GROUND_CLASSES)
    return DepthScore(
        Errors(float(errors.sum()), int(errors.size)),
        Errors(float(errors[standing].sum()), int(np.count_nonzero(standing))),
    )


def flat_ground_occupancy(grid: VoxelGrid, layers: Iterable[int]) -> Bools:
    """(X,Y,Z) with the given layers occupied."""
    occupied = np.zeros(grid.shape, np.bool_)
    occupied[:, :, list(layers)] = True
    return occupied


def choose_flat_ground(grid: VoxelGrid, samples: Iterable[tuple[Bools, Bools]]) -> tuple[int, ...]:
    """The run of neighbouring layers which, painted occupied, gives the best IoU over the mask of all samples.

    Args:
        grid: the layers are its indices in z.
        samples: (true, mask) of training drives, (X,Y,Z) bool each.
    """
    occupied, seen = np.zeros(grid.shape[2], np.int64), np.zeros(grid.shape[2], np.int64)
    for true, mask in samples:
        occupied += (true & mask).sum(axis=(0, 1))
        seen += mask.sum(axis=(0, 1))
    best: tuple[float, tuple[int, ...]] = (-1.0, ())
    for length in range(1, grid.shape[2] + 1):  # of equal ones the shortest: layers that are never seen stay unpainted
        for low in range(grid.shape[2] - length + 1):
            high = low + length
            hits = int(occupied[low:high].sum())
            union = int(seen[low:high].sum()) + int(occupied.sum()) - hits
            iou = hits / union if union else 0.0
            if iou > best[0] + 1e-12:
                best = (iou, tuple(range(low, high)))
    return best[1]


def flat_ground_depth(
    camera: CameraModel,
    base_from_camera: NDArray[np.float64],
    stride: int = 1,
    ground_z: float = 0.0,
    far: float = FLAT_GROUND_FAR_M,
) -> Floats:
    """z-depth (h,w) of the plane z = `ground_z` of base_link at every `stride`-th pixel.

    Rays that do not meet the plane within `far` metres, those above the horizon too, get `far`.
    """
    rays = camera.pixel_rays()[::stride, ::stride]
    rise = rays @ np.asarray(base_from_camera, np.float64)[2, :3]  # rise of each unit ray in base_link
    height = float(base_from_camera[2, 3]) - ground_z
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(rise < 0, height / -rise, np.inf) * rays[..., 2]
    near = PREDICTED_DEPTH_M[0]
    return np.clip(np.where(np.isfinite(depth), depth, far), near, far).astype(np.float32)


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else float("nan")
