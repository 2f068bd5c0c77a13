# SPDX-License-Identifier: Apache-2.0
"""Occupancy against voxel labels: Occ3D's mIoU, RayIoU, SemanticKITTI, and IoU above ground under each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfocc_ros.model.families import class_labels, label_names
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.labels import voxels_path
from selfocc_training.distil.provenance import teacher_of
from selfocc_training.evaluation.choice import Ways
from selfocc_training.evaluation.classes import (
    NO_CLASS,
    ProtocolError,
    common,
    matches,
)
from selfocc_training.evaluation.flat_ground import choose_layers, told_layers
from selfocc_training.evaluation.grids import Bools, VoxelTruth, read_field, read_volume
from selfocc_training.evaluation.scorer import Pictures, PredictorLike, Score, Scorer, Settings
from selfocc_training.metrics import semantickitti
from selfocc_training.metrics.confusion import Absent
from selfocc_training.metrics.occ3d import CLASS_NAMES as OCC3D_NAMES
from selfocc_training.metrics.occ3d import FREE_CLASS, OCC3D, OCC3D_15, SELFOCC_PAPER, Occ3dScore, score_occ3d
from selfocc_training.metrics.rayiou import THRESHOLDS_M, RayCaster, RayScore, choose_origins, count_rays
from selfocc_training.metrics.semantickitti import SemanticKittiScore, score_semantickitti
from selfocc_training.metrics.town import RINGS_M, OccupancyScore, score_occupancy
from selfocc_training.metrics.trim import NO_TRIM, SELFOCC_SEMANTICKITTI_TRIM

LIDAR_HEIGHT_M = 1.84
"""Height over the ground at which RayIoU's rays begin: nuScenes' LiDAR."""

_RAY_UNKNOWN = FREE_CLASS + 1
_OTHERS = OCC3D_NAMES.index("others")
_FIFTEEN = OCC3D_15.classes

Classes = NDArray[np.int64]


class VoxelScorer(Scorer[VoxelTruth]):
    """What all protocols of voxels share: truth, reading of predictions, flat ground, IoU above ground.

    Attributes:
        benchmark: names of the protocol's classes, by number.
        road: number of the class that flat ground is called.
        named: whether classes are scored.
    """

    benchmark: tuple[str, ...] = OCC3D_NAMES[:FREE_CLASS]
    road: int = OCC3D_NAMES.index("driveable_surface")
    free: int = FREE_CLASS

    def __init__(self, predictor: PredictorLike, dataset: Dataset, settings: Settings) -> None:
        super().__init__(predictor, dataset, settings)
        labels = dataset.label_names
        if labels is None or labels.grid is None:
            raise ProtocolError(f"{self.lacks}; see docs/dataset.md for how labels are added")
        teacher = teacher_of(dataset.root)
        if teacher is not None:
            self.title += " against distilled labels, which are no truth"
            self.notes.append(f"the labels were distilled by {teacher}: figures tell how like it the network is")
        self.grid = labels.grid
        ours = label_names(predictor.config)
        told = bool((matches(labels.classes, self.benchmark) != NO_CLASS).any())
        self.named = bool(ours) and told
        if self.named:
            common(ours, labels.classes, self.benchmark)
        self._of_network = matches(ours, self.benchmark)
        self._of_labels = np.full(256, NO_CLASS)
        self._of_labels[: len(labels.classes)] = matches(labels.classes, self.benchmark)
        if not ours:
            self.notes.append("the network has no classes: only figures of occupied voxels, whatever they are")
        elif not told:
            self.notes.append("the labels have none of the protocol's classes: only figures of occupied voxels")
        self.layers: tuple[int, ...] = ()
        self._assumed: set[str] = set()

    @property
    def lacks(self) -> str:
        """The sentence for a split without any truth."""
        return f"{self.dataset.root} has no voxel labels to score by {self.settings.protocol}"

    def has_truth(self, index: int) -> bool:
        """Whether a sample can be scored."""
        drive, stamp = str(self.dataset.drives[index]), int(self.dataset.stamps_ns[index])
        return voxels_path(self.dataset.root, drive, stamp).is_file()

    def truth(self, index: int) -> VoxelTruth:
        """The true voxels of a sample."""
        return self.voxels(index)

    def voxels(self, index: int) -> VoxelTruth:
        """The true voxels of a sample."""
        labels = self.dataset.voxels(index)
        if labels is None:
            raise ProtocolError(self.lacks)
        if labels.mask_camera is None:
            self._assume("the labels have no camera mask: all voxels whose label is known count as seen")
        if labels.above_ground is None:
            height = self.predictor.ground_z
            self._assume(f"the labels do not tell what is above ground: the ground is assumed at z = {height:g} m")
        return VoxelTruth.of(labels, self.predictor.ground_z)

    def learn_ground(self, indices: Sequence[int], where: str) -> None:
        """Choose flat ground on samples that have truth; ``where`` names them."""
        truths = (self.voxels(index) for index in indices)
        self.layers = choose_layers(truths, self.grid)
        self.notes.append(f"flat ground paints {told_layers(self.layers, self.grid)}, chosen on {where}")

    def score(self, truth: VoxelTruth, prediction: Any) -> Score:
        """Score a prediction of a sample."""
        occupied, told = self._read(truth, prediction)
        classes: Classes = np.full(occupied.shape, NO_CLASS)
        if self.named:
            if told is None:
                raise ProtocolError("the network has classes, but its prediction tells none")
            classes = self._of_network[told]
        return self._scored(truth, occupied, classes)

    def score_ground(self, truth: VoxelTruth) -> Score:
        """Score flat ground."""
        occupied = np.zeros(self.grid.shape, np.bool_)
        occupied[:, :, list(self.layers)] = True
        return self._scored(truth, occupied, np.full(self.grid.shape, self.road))

    def figures(self, score: Score) -> dict[str, float]:
        """All figures by name, of one sample or of many."""
        voxels: OccupancyScore = score["voxels"]
        out = {"iou": voxels.all.iou, "iou_above_ground": voxels.above.iou, **self._figures(score)}
        out |= {"precision_above_ground": voxels.above.precision, "recall_above_ground": voxels.above.recall}
        for i, ring in enumerate(voxels.rings):
            out[f"iou_above_ground_{RINGS_M[i]:.0f}_to_{RINGS_M[i + 1]:.0f}_m"] = ring.iou
        return out

    def pictures(self, truth: VoxelTruth) -> Pictures:
        """What can be drawn of the truth."""
        return Pictures(truth.volume, {})

    def _read(self, truth: VoxelTruth, prediction: Any) -> tuple[Bools, NDArray[np.uint8] | None]:
        """What is predicted to be occupied, and its labels."""
        return read_volume(prediction.volume, truth.labels)

    def _scored(self, truth: VoxelTruth, occupied: Bools, classes: Classes) -> Score:
        voxels = score_occupancy(self.grid, occupied & truth.known, truth.occupied, truth.mask, truth.above)
        return {"voxels": voxels, **self._counts(truth, occupied, classes)}

    def _true_classes(self, truth: VoxelTruth, unnamed: int) -> Classes:
        """(X, Y, Z) numbers of the benchmark: ``free`` where nothing is, ``unnamed`` for names that it lacks."""
        true = self._of_labels[truth.labels.label]
        return np.where(truth.occupied, np.where(true == NO_CLASS, unnamed, true), self.free)

    def _assume(self, sentence: str) -> None:
        if sentence not in self._assumed:
            self._assumed.add(sentence)
            self.notes.append(sentence)

    @abstractmethod
    def _counts(self, truth: VoxelTruth, occupied: Bools, classes: Classes) -> Score:
        """The protocol's own counts; ``classes`` are NO_CLASS where the benchmark lacks them."""

    @abstractmethod
    def _figures(self, score: Score) -> dict[str, float]:
        """The protocol's own figures."""


class Occ3dScorer(VoxelScorer):
    """mIoU over 17 and over 15 classes and IoU, over the camera mask and over all known voxels (Occ3D, 2023)."""

    def __init__(self, predictor: PredictorLike, dataset: Dataset, settings: Settings) -> None:
        super().__init__(predictor, dataset, settings)
        self.protocol = SELFOCC_PAPER if settings.as_selfocc else OCC3D
        if settings.as_selfocc:
            self.title += " with SelfOcc's own post-processing"
            self.notes.append(
                "SelfOcc's post-processing: occupied where the field is 0 or less, read between the grid's borders "
                "instead of at voxel centres; the upper 4 layers and a rim of 6 voxels emptied; others are empty"
            )
        figures = ("iou", "iou_above_ground", "iou_no_mask")
        classes = ("miou", "miou_15", "miou_no_mask", "miou_15_no_mask") if self.named else ()
        self.rows = (*classes, *figures)

    def _read(self, truth: VoxelTruth, prediction: Any) -> tuple[Bools, NDArray[np.uint8] | None]:
        if not self.settings.as_selfocc:
            return super()._read(truth, prediction)
        channels = class_labels(self.predictor.config) if self.named else ()
        return read_field(prediction.scene, truth.labels, self.protocol, self.predictor.ground_z, channels)

    def _scored(self, truth: VoxelTruth, occupied: Bools, classes: Classes) -> Score:
        return super()._scored(truth, occupied & self.protocol.trim.kept(occupied.shape), classes)

    def _counts(self, truth: VoxelTruth, occupied: Bools, classes: Classes) -> Score:
        # A network without classes must not have its matter called others, which some protocols take for empty.
        unnamed = _OTHERS if self.named else OCC3D_NAMES.index("manmade")
        true = self._true_classes(truth, unnamed)
        told = np.where(classes == NO_CLASS, unnamed, classes)
        score = score_occ3d(told, true, truth.mask, self.protocol, occupied, truth.known)
        return {"occ3d": score}

    def _figures(self, score: Score) -> dict[str, float]:
        counts: Occ3dScore = score["occ3d"]
        out = {"iou": counts.iou(), "iou_no_mask": counts.iou(False)}
        if not self.named:
            return out
        fifteen = replace(counts, protocol=replace(self.protocol, name=f"{self.protocol.name}_15", classes=_FIFTEEN))
        out |= {"miou": counts.miou(), "miou_no_mask": counts.miou(False)}
        out |= {"miou_15": fifteen.miou(), "miou_15_no_mask": fifteen.miou(False)}
        iou = counts.class_iou()
        return out | {f"iou_{OCC3D_NAMES[c]}": float(iou[c]) for c in range(FREE_CLASS)}


@dataclass(frozen=True, eq=False)
class RayTruth(VoxelTruth):
    """Voxels, and rays through them.

    Attributes:
        caster: the rays, O origins by D directions; None where none begins inside the grid.
        met: labels and depths (O, D) of what they meet in the true voxels.
    """

    caster: RayCaster | None
    met: tuple[Tensor, Tensor]


class RayScorer(VoxelScorer):
    """RayIoU (SparseOcc, 2024): rays of a LiDAR cast into the predicted voxels and into the true ones."""

    def __init__(self, predictor: PredictorLike, dataset: Dataset, settings: Settings) -> None:
        super().__init__(predictor, dataset, settings)
        thresholds = tuple(f"@{threshold:g}" for threshold in THRESHOLDS_M)
        if self.named:
            self.rows = ("rayiou", *(f"rayiou{t}" for t in thresholds), "rayiou_15")
        else:
            self.rows = ("rayiou_occupied", *(f"rayiou_occupied{t}" for t in thresholds))
        self.rows += ("iou", "iou_above_ground")
        self.notes.append(
            f"RayIoU's rays begin {LIDAR_HEIGHT_M:g} m over the vehicle's places along the drive; "
            "a ray that meets an unknown voxel before any other does not count"
        )
        self._ways = Ways(dataset)

    def truth(self, index: int) -> RayTruth:
        """The true voxels of a sample, and what rays meet in them."""
        voxels = self.voxels(index)
        places = choose_origins(self._places(index, voxels.labels.base_from_labels))
        inside = ((places >= np.array(self.grid.lower)) & (places < np.array(self.grid.upper))).all(axis=1)
        if not inside.any():
            return RayTruth(**vars(voxels), caster=None, met=(torch.zeros(0), torch.zeros(0)))
        caster = RayCaster(places[inside], grid=self.grid)
        true = np.where(voxels.known, self._true_classes(voxels, _OTHERS), _RAY_UNKNOWN)
        if not self.named:
            true[voxels.occupied] = _OTHERS
        labels, depths = caster.cast(true.astype(np.uint8))
        labels[labels == _RAY_UNKNOWN] = self.free
        return RayTruth(**vars(voxels), caster=caster, met=(labels, depths))

    def _places(self, index: int, base_from_labels: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, 3) places above the drive's way, in the frame of a sample's voxels."""
        up = np.array([0.0, 0.0, self.predictor.ground_z + LIDAR_HEIGHT_M, 1.0])
        labels_from_odom = np.linalg.inv(self.dataset[index].odom_from_base @ base_from_labels)
        return np.asarray((self._ways.poses(index) @ up @ labels_from_odom.T)[:, :3])

    def _counts(self, truth: VoxelTruth, occupied: Bools, classes: Classes) -> Score:
        if not isinstance(truth, RayTruth) or truth.caster is None:
            return {"rays": RayScore()}
        told = np.where(occupied, np.where((classes == NO_CLASS) | (not self.named), _OTHERS, classes), self.free)
        return {"rays": count_rays(*truth.caster.cast(told.astype(np.uint8)), *truth.met)}

    def _figures(self, score: Score) -> dict[str, float]:
        rays: RayScore = score["rays"]
        figures = rays.figures()
        if self.named:
            return figures
        return {name.replace("rayiou", "rayiou_occupied"): value for name, value in figures.items() if "15" not in name}


class SemanticKittiScorer(VoxelScorer):
    """Scene completion of SemanticKITTI: IoU, precision and recall of known voxels, mIoU over 19 classes."""

    benchmark = semantickitti.CLASS_NAMES
    road = semantickitti.CLASS_NAMES.index("road")
    free = 0

    def __init__(self, predictor: PredictorLike, dataset: Dataset, settings: Settings) -> None:
        super().__init__(predictor, dataset, settings)
        self.rows = (*(("miou",) if self.named else ()), "iou", "precision", "recall", "iou_above_ground")
        self.trim = SELFOCC_SEMANTICKITTI_TRIM if settings.as_selfocc else NO_TRIM
        if settings.as_selfocc:
            self.title += " with SelfOcc's own post-processing"
            self.notes.append(
                "SelfOcc's post-processing: the upper 4 layers, 6 voxels ahead and 6 on either side emptied; a class "
                "that the truth lacks counts as 1"
            )

    def _scored(self, truth: VoxelTruth, occupied: Bools, classes: Classes) -> Score:
        return super()._scored(truth, occupied & self.trim.kept(occupied.shape), classes)

    def _counts(self, truth: VoxelTruth, occupied: Bools, classes: Classes) -> Score:
        unnamed = semantickitti.CLASS_NAMES.index("other-ground")
        true = np.where(truth.known, self._true_classes(truth, unnamed), semantickitti.UNKNOWN_CLASS)
        told = np.where(classes <= 0, unnamed, classes) if self.named else None
        return {"kitti": score_semantickitti(occupied, true, told)}

    def _figures(self, score: Score) -> dict[str, float]:
        counts: SemanticKittiScore = score["kitti"]
        out = counts.figures()
        if not self.named:
            return {name: out[name] for name in ("iou", "precision", "recall")}
        absent: Absent = "one" if self.settings.as_selfocc else "zero"
        iou = counts.classes.iou(absent)
        classes = {f"iou_{name}": float(iou[c]) for c, name in enumerate(semantickitti.CLASS_NAMES) if c}
        return out | {"miou": counts.miou(absent)} | classes
