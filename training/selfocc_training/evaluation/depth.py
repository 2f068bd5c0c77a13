# SPDX-License-Identifier: Apache-2.0
"""Rendered depth against depth maps: of the cameras that the network sees through, and of views that it never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.labels import picture_path
from selfocc_training.evaluation.flat_ground import choose_far
from selfocc_training.evaluation.grids import ABOVE_GROUND_M
from selfocc_training.evaluation.scorer import Pictures, PredictorLike, Score, Scorer, Settings
from selfocc_training.metrics.depth import (
    ERRORS,
    NOVEL_EDGES_M,
    DepthErrors,
    DepthMeans,
    garg_crop,
    sample_depths,
    score_depths,
    score_novel_depths,
)
from selfocc_training.metrics.town import FLAT_GROUND_FAR_M, flat_ground_depth

SELFOCC_DEPTH_M = (1.0, 80.0)
"""True depths that SelfOcc scores on nuScenes."""

Floats = NDArray[np.float32]
Render = Callable[[CameraModel, NDArray[np.float64]], Floats]
"""Depth (h, w) of a camera at a pose in base_link, at every ``stride``-th pixel."""


@dataclass(frozen=True, eq=False)
class View:
    """True depth of one camera at one place.

    Attributes:
        name: of the camera.
        place: the camera's place among the dataset's, or the metres that a novel view is away.
        camera, base_from_camera: intrinsics, and pose in base_link at the sample's stamp.
        depth: (H, W) metres, 0 where unknown.
        pixels: (R, 2) x and y of the pixels that are scored.
        true: (R,) metres.
        above: (R,) bool, points that lie above the ground.
    """

    name: str
    place: float
    camera: CameraModel
    base_from_camera: NDArray[np.float64]
    depth: Floats
    pixels: NDArray[np.int64]
    true: Floats
    above: NDArray[np.bool_]

    @classmethod
    def of(
        cls, name: str, place: float, camera: CameraModel, base_from_camera: NDArray[np.float64], depth: Floats,
        limits: tuple[float, float], ground_z: float, usable: NDArray[np.bool_] | None = None,
    ) -> View:  # fmt: skip
        """View of a depth map; pixels count whose depth lies within ``limits`` and that are ``usable`` (H, W)."""
        scored = (depth > limits[0]) & (depth < limits[1])
        if usable is not None:
            scored &= usable
        v, u = np.nonzero(scored)
        true = depth[v, u]
        rays = camera.pixel_rays()[v, u]
        points = rays / rays[:, 2:] * true[:, None]
        heights = points @ base_from_camera[2, :3] + base_from_camera[2, 3]
        above = heights > ground_z + ABOVE_GROUND_M
        return cls(name, place, camera, base_from_camera, depth, np.stack([u, v], axis=-1), true, above)

    def read(self, rendered: Floats, stride: int) -> Floats:
        """(R,) a rendered map (h, w) at every ``stride``-th pixel, read bilinearly at the scored pixels."""
        last = np.array([rendered.shape[1] - 1, rendered.shape[0] - 1])
        at = np.clip(self.pixels / stride / np.maximum(last, 1), 0.0, 1.0)
        return np.asarray(sample_depths(rendered[None], at[None].astype(np.float32))[0], np.float32)


class DepthScorer(Scorer[list[View]]):
    """Depth of the input cameras, the mean over images of each camera and then over cameras, as SelfOcc prints it."""

    errors = True

    def __init__(self, predictor: PredictorLike, dataset: Dataset, settings: Settings) -> None:
        super().__init__(predictor, dataset, settings)
        self.limits = settings.depth_m or SELFOCC_DEPTH_M
        self.rows = ("abs_rel", *ERRORS[1:], "abs_rel_above_ground", *(f"median_{name}" for name in ERRORS))
        low, high = self.limits
        default = ", SelfOcc's limits on nuScenes" if self.limits == SELFOCC_DEPTH_M else ""
        crop = ", Garg's crop" if settings.garg_crop else ""
        self.title = f"{settings.protocol}, true depth {low:g} to {high:g} m{default}{crop}"
        self.notes.append("figures are of raw depth; median_... is scaled to the true median of each image")
        self.notes.append(f"rendered at every {settings.stride}th pixel each way, read bilinearly in between")
        self.notes.append(f"above ground: points more than {ABOVE_GROUND_M:g} m over z = {predictor.ground_z:g} m")
        self.far = FLAT_GROUND_FAR_M

    @property
    def lacks(self) -> str:
        """The sentence for a split without any truth."""
        return f"{self.dataset.root} has no depth maps to score by {self.settings.protocol}; see docs/dataset.md"

    def has_truth(self, index: int) -> bool:
        """Whether a sample can be scored."""
        root, sample = self.dataset.root, self.dataset[index]
        files = (picture_path(root, "depth", sample.drive, i.name, i.stamp_ns) for i in sample.images)
        return any(file.is_file() for file in files)

    def truth(self, index: int) -> list[View]:
        """The cameras of a sample that have a depth map."""
        views = []
        for image in self.dataset[index].images:
            depth = self.depth_map(index, image.name)
            if depth is not None:
                place = self.dataset.cameras.index(image.name)
                views.append(self._view(image.name, place, image.camera, image.base_from_camera, depth))
        return views

    def depth_map(self, index: int, camera: str) -> Floats | None:
        """(H, W) true depth of an image in metres, 0 unknown; None where there is none."""
        return self.dataset.depth_map(index, camera)

    def learn_ground(self, indices: Sequence[int], where: str) -> None:
        """Choose flat ground on samples that have truth; ``where`` names them."""
        planes, truths = [], []
        for index in indices:
            for view in self.truth(index):
                planes.append(view.read(self._plane(view, np.inf), self.settings.stride))
                truths.append(view.true)
        self.far = choose_far(planes, truths, FLAT_GROUND_FAR_M)
        self.notes.append(f"flat ground: rays that do not meet it within {self.far:g} m get that, chosen on {where}")

    def score(self, truth: list[View], prediction: Any) -> Score:
        """Score a prediction of a sample."""

        def render(camera: CameraModel, pose: NDArray[np.float64]) -> Floats:
            return self.predictor.render_depth(prediction, camera, pose, self.settings.stride)

        return self._scored(truth, lambda view: render(view.camera, view.base_from_camera))

    def score_ground(self, truth: list[View]) -> Score:
        """Score flat ground."""
        return self._scored(truth, lambda view: self._plane(view, self.far))

    def figures(self, score: Score) -> dict[str, float]:
        """All figures by name, of one sample or of many."""
        errors: DepthErrors = score["all"]
        out = self._mean(errors.raw) | {f"median_{name}": v for name, v in self._mean(errors.median).items()}
        out.pop("scale")
        above: DepthErrors = score["above"]
        out["abs_rel_above_ground"] = self._mean(above.raw)["abs_rel"]
        return out | self._by_view(errors.raw)

    def pictures(self, truth: list[View]) -> Pictures:
        """What can be drawn of the truth."""
        return Pictures(None, {view.name: view.depth for view in truth if isinstance(view.place, int)})

    def _view(
        self, name: str, place: float, camera: CameraModel, base_from_camera: NDArray[np.float64], depth: Floats
    ) -> View:
        usable = self.dataset.ego_mask(name)
        if self.settings.garg_crop:
            crop = garg_crop(camera.height, camera.width)
            usable = crop if usable is None else usable & crop
        return View.of(name, place, camera, base_from_camera, depth, self.limits, self.predictor.ground_z, usable)

    def _plane(self, view: View, far: float) -> Floats:
        plane = flat_ground_depth(
            view.camera, view.base_from_camera, self.settings.stride, self.predictor.ground_z, min(far, 1e4)
        )
        return np.asarray(plane, np.float32)

    def _scored(self, truth: list[View], rendered: Callable[[View], Floats]) -> Score:
        total: dict[str, DepthErrors] = {"all": self._zeros(), "above": self._zeros()}
        for view in truth:
            if not len(view.true):
                continue
            guess = view.read(rendered(view), self.settings.stride)
            total["all"] += self._errors(view, guess, np.ones(len(guess), np.bool_))
            total["above"] += self._errors(view, guess, view.above)
        return total

    def _zeros(self) -> DepthErrors:
        return DepthErrors.zeros(len(self.dataset.cameras))

    def _errors(self, view: View, guess: Floats, mask: NDArray[np.bool_]) -> DepthErrors:
        one = score_depths(guess[None], view.true[None], mask[None])
        out = self._zeros()
        for means, mine in ((one.raw, out.raw), (one.median, out.median)):
            mine.totals[int(view.place)] += means.totals[0]
            mine.images[int(view.place)] += means.images[0]
        return out

    def _mean(self, means: DepthMeans) -> dict[str, float]:
        return means.over_views()

    def _by_view(self, means: DepthMeans) -> dict[str, float]:
        """AbsRel of each camera."""
        return {
            f"abs_rel_{name}": float(row[0]) for name, row in zip(self.dataset.cameras, means.by_view(), strict=True)
        }


class NovelDepthScorer(DepthScorer):
    """Depth of views up to 10 m ahead, rendered from the present volume; the mean over all views (SceneRF, 2023)."""

    chosen_on = 4  # of up to ten places each

    def __init__(self, predictor: PredictorLike, dataset: Dataset, settings: Settings) -> None:
        super().__init__(predictor, dataset, settings)
        self.notes.append(
            f"views of the samples driven through within {NOVEL_EDGES_M[-1]:g} m after the one that the network saw, "
            "one per metre; all pixels count, whether or not the network's own cameras saw what they show"
        )

    @property
    def lacks(self) -> str:
        """The sentence for a split without any truth."""
        return f"{self.dataset.root} has no depth maps within 10 m after a sample; see docs/dataset.md"

    def has_truth(self, index: int) -> bool:
        """Whether a sample can be scored."""
        return any(super(NovelDepthScorer, self).has_truth(other) for _, other in self._ahead(index))

    def truth(self, index: int) -> list[View]:
        """Cameras of samples ahead, one sample per metre."""
        base_from_odom = np.linalg.inv(self.dataset[index].odom_from_base)
        views = []
        for metres, other in self._ahead(index):
            for image in self.dataset[other].images:
                depth = self.depth_map(other, image.name)
                if depth is not None:
                    pose = base_from_odom @ image.odom_from_camera
                    views.append(self._view(image.name, metres, image.camera, pose, depth))
        return views

    def _ahead(self, index: int) -> list[tuple[float, int]]:
        """Metres and index of the first sample that has truth, in each metre ahead."""
        found: dict[int, tuple[float, int]] = {}
        cameras = [image.name for image in self.dataset[index].images]
        last = NOVEL_EDGES_M[-1]
        near = {i for name in cameras for i in self.dataset.neighbours(index, name, 1e-3, last).after}
        for other in sorted(near):
            metres = float(self.dataset.distance_m[other] - self.dataset.distance_m[index])
            if int(metres) not in found and super().has_truth(other):
                found[int(metres)] = metres, other
        return list(found.values())

    def _zeros(self) -> DepthErrors:
        return DepthErrors.zeros(len(NOVEL_EDGES_M) - 1)

    def _errors(self, view: View, guess: Floats, mask: NDArray[np.bool_]) -> DepthErrors:
        return score_novel_depths(guess[None], view.true[None], mask[None], np.array([view.place]))

    def _mean(self, means: DepthMeans) -> dict[str, float]:
        return means.over_images()

    def _by_view(self, means: DepthMeans) -> dict[str, float]:
        """AbsRel by distance."""
        rows = zip(NOVEL_EDGES_M, NOVEL_EDGES_M[1:], means.by_view(), strict=False)
        return {f"abs_rel_{low:g}_to_{high:g}_m": float(row[0]) for low, high, row in rows}
