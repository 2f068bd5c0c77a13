# SPDX-License-Identifier: Apache-2.0
"""Protocol `lidar`: depth and occupancy against the sweeps of the recording itself; no labels are needed.

A ray's voxels before the hit are free and the hit's is occupied; the others are unknown and not scored. A point counts
for a camera's depth unless something nearer lies around it: seen from elsewhere, the sensor looks behind things.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import apply, invert
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.labels import UNKNOWN, VoxelLabels
from selfocc_training.evaluation.clouds import Sweep, find_clouds
from selfocc_training.evaluation.depth import DepthScorer, View
from selfocc_training.evaluation.flat_ground import choose_layers, told_layers
from selfocc_training.evaluation.grids import VoxelTruth, read_volume
from selfocc_training.evaluation.scorer import Pictures, PredictorLike, Score, Scorer, Settings
from selfocc_training.metrics.town import OccupancyScore, score_occupancy

OCCUPIED_LABEL, FREE_LABEL = 0, 1

NEAREST_M = 2.0
"""Points nearer to the sensor than this are left out: the own vehicle."""

_STEP = 0.5
"""Voxels between the places of a ray that are looked up."""

_RAYS = 30_000
"""Rays of a sweep that free space is told by, evenly chosen; all points are hits."""

_AROUND = (9, 7)
"""Pixels (width, height) around a point in which it is hidden by what is nearer, in an image 960 wide."""

Floats = NDArray[np.float32]


def swept_voxels(sweep: Sweep, base_from_odom: NDArray[np.float64], grid: VoxelGrid) -> NDArray[np.uint8]:
    """(X, Y, Z) labels of a grid in base_link: OCCUPIED_LABEL where a point lies, FREE_LABEL where only rays pass."""
    origin, points = apply(base_from_odom, sweep.origin), apply(base_from_odom, sweep.points)
    distance = np.linalg.norm(points - origin, axis=1)
    points, distance = points[distance > NEAREST_M], distance[distance > NEAREST_M]
    labels = np.full(grid.shape, UNKNOWN, np.uint8)
    rays = np.unique(np.linspace(0, max(len(points) - 1, 0), min(_RAYS, len(points))).astype(np.int64))
    cell = float(grid.cell.min())
    units = (points[rays] - origin) / distance[rays][:, None]
    # Half a voxel short of the hit, which may lie anywhere in its own.
    ends = distance[rays] - 0.5 * cell
    for along in np.arange(NEAREST_M, float(ends.max(initial=0.0)), _STEP * cell):
        index, inside = grid.index_of(origin + units[ends > along] * along)
        labels[tuple(index[inside].T)] = FREE_LABEL
    index, inside = grid.index_of(points)
    labels[tuple(index[inside].T)] = OCCUPIED_LABEL
    return labels


def in_view(rig: CameraRig, grid: VoxelGrid) -> NDArray[np.bool_]:
    """(X, Y, Z) voxels of a grid in base_link whose centre lies in some camera's image."""
    centres = grid.centres().reshape(-1, 3)
    seen = np.zeros(len(centres), np.bool_)
    for camera, pose in zip(rig.cameras, rig.base_from_camera, strict=True):
        rest = np.flatnonzero(~seen)
        seen[rest] = camera.project(apply(invert(pose), centres[rest]))[1]
    return seen.reshape(grid.shape)


def swept_depth(sweep: Sweep, camera: CameraModel, camera_from_odom: NDArray[np.float64]) -> Floats:
    """(H, W) z-depth in metres of the points that a camera sees, 0 elsewhere; of several in a pixel the nearest."""
    points = apply(camera_from_odom, sweep.points)
    points = points[points[:, 2] > 0.1]
    pixels, inside = camera.project(points)
    u, v = np.rint(pixels[inside]).astype(np.int64).T
    u, v = u.clip(0, camera.width - 1), v.clip(0, camera.height - 1)
    depth = np.full((camera.height, camera.width), np.inf, np.float32)
    np.minimum.at(depth, (v, u), points[inside, 2].astype(np.float32))
    scale = camera.width / 960
    size = [max(3, round(pixels * scale) | 1) for pixels in _AROUND]
    nearest = cv2.erode(np.where(np.isfinite(depth), depth, np.float32(1e6)), np.ones(size[::-1], np.uint8))
    hidden = depth > 1.2 * nearest + 0.8
    return np.where(np.isfinite(depth) & ~hidden, depth, 0.0).astype(np.float32)


class _SweptDepth(DepthScorer):
    """Depth maps of sweeps in place of the dataset's."""

    def __init__(
        self, predictor: PredictorLike, dataset: Dataset, settings: Settings, sweep: Callable[[int], Sweep | None]
    ) -> None:
        super().__init__(predictor, dataset, settings)
        self._sweep = sweep

    def depth_map(self, index: int, camera: str) -> Floats | None:
        """Depth of the nearest sweep's points in the image of a camera."""
        image, sweep = self.dataset[index].image(camera), self._sweep(index)
        if image is None or sweep is None:
            return None
        return swept_depth(sweep, image.camera, invert(image.odom_from_camera))


@dataclass(frozen=True, eq=False)
class LidarTruth:
    """One sweep as depth maps and as voxels."""

    views: list[View]
    voxels: VoxelTruth


class LidarScorer(Scorer[LidarTruth]):
    """Depth and occupancy along the rays of a LiDAR."""

    errors = True

    def __init__(self, predictor: PredictorLike, dataset: Dataset, settings: Settings) -> None:
        super().__init__(predictor, dataset, settings)
        paths = settings.bags or tuple(Path(drive["source"]["path"]) for drive in dataset.description["drives"])
        self._clouds = find_clouds(paths, dataset.description["fixed_frame"])
        self._depth = _SweptDepth(predictor, dataset, settings, self._sweep)
        self.title = self._depth.title
        topics = ", ".join(sorted({clouds.topic for clouds in self._clouds}))
        self.notes = [*self._depth.notes]
        self.notes.append(
            f"sweeps of {topics}, the one nearest to each sample; its points are taken to be of the moment of its "
            "stamp, and the world to stand still until the images"
        )
        self.notes.append(
            "voxels: those that rays end in or pass, and that lie in a camera's image; IoU, and the shares of hits "
            "that are predicted occupied (hits_occupied) and of passed voxels that are not (passed_free)"
        )
        self.rows = (*self._depth.rows, "iou", "iou_above_ground", "hits_occupied", "passed_free")
        self.layers: tuple[int, ...] = ()
        self.grid = predictor.config.grid.shifted(predictor.ground_z)

    @property
    def lacks(self) -> str:
        """The sentence for a split without any truth."""
        return f"no sweep of {', '.join(str(clouds.path) for clouds in self._clouds)} is near to one of the samples"

    def has_truth(self, index: int) -> bool:
        """Whether a sample can be scored."""
        stamp = int(self.dataset.stamps_ns[index])
        return any(clouds.stamp_near(stamp) is not None for clouds in self._clouds)

    def truth(self, index: int) -> LidarTruth:
        """Depth maps and voxels of the sweep nearest to a sample."""
        return LidarTruth(self._depth.truth(index), self.voxels(index))

    def voxels(self, index: int) -> VoxelTruth:
        """Voxels of the sweep nearest to a sample."""
        sample, sweep = self.dataset[index], self._sweep(index)
        labels = np.full(self.grid.shape, UNKNOWN, np.uint8)
        if sweep is not None:
            labels = swept_voxels(sweep, invert(sample.odom_from_base), self.grid)
        mask = in_view(sample.rig, self.grid)
        told = VoxelLabels(labels, self.grid, ("occupied",), FREE_LABEL, mask, None, None, np.eye(4))
        return VoxelTruth.of(told, self.predictor.ground_z)

    def learn_ground(self, indices: Sequence[int], where: str) -> None:
        """Choose flat ground on samples that have a sweep; ``where`` names them."""
        self._depth.notes = []
        self._depth.learn_ground(indices, where)
        self.layers = choose_layers((self.voxels(index) for index in indices), self.grid)
        self.notes += [*self._depth.notes, f"flat ground paints {told_layers(self.layers, self.grid)}"]

    def score(self, truth: LidarTruth, prediction: Any) -> Score:
        """Score a prediction of a sample."""
        occupied, _ = read_volume(prediction.volume, truth.voxels.labels)
        return {**self._depth.score(truth.views, prediction), **self._counts(truth.voxels, occupied)}

    def score_ground(self, truth: LidarTruth) -> Score:
        """Score flat ground."""
        occupied = np.zeros(self.grid.shape, np.bool_)
        occupied[:, :, list(self.layers)] = True
        return {**self._depth.score_ground(truth.views), **self._counts(truth.voxels, occupied)}

    def figures(self, score: Score) -> dict[str, float]:
        """All figures by name, of one sample or of many."""
        voxels: OccupancyScore = score["voxels"]
        free: OccupancyScore = score["free"]
        figures = {"iou": voxels.all.iou, "iou_above_ground": voxels.above.iou}
        shares = {"hits_occupied": voxels.all.recall, "passed_free": free.all.recall}
        return {**self._depth.figures(score), **figures, **shares}

    def close(self) -> None:
        """Close the recordings."""
        for clouds in self._clouds:
            clouds.close()

    def pictures(self, truth: LidarTruth) -> Pictures:
        """What can be drawn of the truth."""
        return Pictures(truth.voxels.volume, self._depth.pictures(truth.views).depths)

    def _counts(self, truth: VoxelTruth, occupied: NDArray[np.bool_]) -> Score:
        """Counts of what is occupied, and of what is free."""
        rest = truth.mask, truth.above
        return {
            "voxels": score_occupancy(self.grid, occupied, truth.occupied, *rest),
            "free": score_occupancy(self.grid, ~occupied, truth.known & ~truth.occupied, *rest),
        }

    def _sweep(self, index: int) -> Sweep | None:
        stamp = int(self.dataset.stamps_ns[index])
        for clouds in self._clouds:
            near = clouds.stamp_near(stamp)
            if near is not None:
                return clouds.sweep(near)
        return None
