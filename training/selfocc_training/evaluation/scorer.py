# SPDX-License-Identifier: Apache-2.0
"""What every protocol offers to the run: truth of a sample, scores that add up, and figures of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.voxels import OccupancyVolume
from selfocc_ros.sensing.frames import RigSample
from selfocc_training.dataset.dataset import Dataset

Truth = TypeVar("Truth")
Score = Mapping[str, Any]
"""Accumulators by name; each adds up with ``+``."""

PROTOCOLS = ("occ3d", "rayiou", "semantickitti", "depth", "novel_depth", "lidar")


class PredictorLike(Protocol):
    """What an evaluation asks of ``selfocc_ros.runtime.predictor.Predictor``."""

    config: Any
    ground_z: float

    def predict(self, sample: RigSample) -> Any:
        """A prediction with a ``volume`` and a ``scene``."""

    def render_depth(
        self, prediction: Any, camera: CameraModel, base_from_camera: NDArray[np.float64], stride: int = 1
    ) -> NDArray[np.float32]:
        """Rendered z-depth at every ``stride``-th pixel."""


@dataclass(frozen=True)
class Settings:
    """How to score.

    Attributes:
        protocol: one of PROTOCOLS.
        split: which samples; None is ``val``, or ``train`` where the dataset has no ``val``.
        samples: how many of them, evenly chosen; None is all.
        min_travel_m: only samples after which the vehicle goes on by this much to the next.
        depth_m: nearest and farthest true depth that is scored; None is what the protocol says.
        garg_crop: score depth only where KITTI's LiDAR reaches in its images (Garg et al. 2016).
        stride: depth is rendered at every ``stride``-th pixel of every ``stride``-th row, and read in between.
        as_selfocc: occ3d and semantickitti: read, empty and average as SelfOcc's own evaluation does.
        bags: recordings with LiDAR, in place of those that the dataset names.
        blind: whether to score blindness too; it costs a second prediction per sample.
    """

    protocol: str
    split: str | None = None
    samples: int | None = None
    min_travel_m: float = 0.0
    depth_m: tuple[float, float] | None = None
    stride: int = 4
    as_selfocc: bool = False
    bags: tuple[Path, ...] = ()
    blind: bool = True
    garg_crop: bool = False


@dataclass(frozen=True)
class Pictures:
    """What of a sample's truth can be drawn.

    Attributes:
        volume: true voxels, or None.
        depths: (H, W) true z-depth in metres by camera, 0 unknown.
    """

    volume: OccupancyVolume | None
    depths: Mapping[str, NDArray[np.float32]]


class Scorer(ABC, Generic[Truth]):
    """One protocol on one dataset.

    Attributes:
        rows: figures of the table, the one that samples are ranked by first.
        errors: whether samples are the better the lower that figure is.
        chosen_on: samples, evenly spread, that flat ground is chosen on.
        title: how the protocol is to be named, with everything that makes figures differ.
        notes: sentences on what was assumed.
    """

    rows: tuple[str, ...] = ()
    errors = False
    chosen_on = 20

    def __init__(self, predictor: PredictorLike, dataset: Dataset, settings: Settings) -> None:
        self.predictor, self.dataset, self.settings = predictor, dataset, settings
        self.title = settings.protocol
        self.notes: list[str] = []

    @property
    @abstractmethod
    def lacks(self) -> str:
        """The sentence for a split without any truth."""

    @abstractmethod
    def has_truth(self, index: int) -> bool:
        """Whether a sample can be scored; must be quick."""

    @abstractmethod
    def truth(self, index: int) -> Truth:
        """What is true of a sample."""

    @abstractmethod
    def learn_ground(self, indices: Sequence[int], where: str) -> None:
        """Choose flat ground on samples that have truth; ``where`` names them."""

    @abstractmethod
    def score(self, truth: Truth, prediction: Any) -> Score:
        """Score a prediction of a sample."""

    @abstractmethod
    def score_ground(self, truth: Truth) -> Score:
        """Score flat ground."""

    @abstractmethod
    def figures(self, score: Score) -> dict[str, float]:
        """All figures by name, of one sample or of many."""

    def close(self) -> None:
        """Close files that ``truth`` keeps open; it opens them again where it must."""

    @abstractmethod
    def pictures(self, truth: Truth) -> Pictures:
        """What can be drawn of the truth."""


def added(first: Score, second: Score) -> Score:
    """Sum of two scores of one protocol; an empty one is nothing scored yet."""
    if not first:
        return second
    return {name: first[name] + second[name] for name in first}
