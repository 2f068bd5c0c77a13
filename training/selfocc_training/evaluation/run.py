# SPDX-License-Identifier: Apache-2.0
"""An evaluation from the first sample to the last: the network, flat ground and blindness side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from selfocc_training.dataset.dataset import Dataset
from selfocc_training.evaluation.choice import (
    SAME_PLACE_M,
    blinded,
    evenly,
    far_sample,
    split_to_score,
    travelling,
    with_truth,
)
from selfocc_training.evaluation.classes import ProtocolError
from selfocc_training.evaluation.depth import DepthScorer, NovelDepthScorer
from selfocc_training.evaluation.lidar import LidarScorer
from selfocc_training.evaluation.scorer import PROTOCOLS, PredictorLike, Score, Scorer, Settings, added
from selfocc_training.evaluation.voxels import Occ3dScorer, RayScorer, SemanticKittiScorer
from selfocc_training.town_evaluation import BLIND, FLAT_GROUND, MODEL

Progress = Callable[[int, int], None]

SCORERS: dict[str, Callable[[PredictorLike, Dataset, Settings], Scorer[Any]]] = {
    "occ3d": Occ3dScorer,
    "rayiou": RayScorer,
    "semantickitti": SemanticKittiScorer,
    "depth": DepthScorer,
    "novel_depth": NovelDepthScorer,
    "lidar": LidarScorer,
}


@dataclass(frozen=True)
class Evaluation:
    """What was scored.

    Attributes:
        scorer: the protocol.
        indices: samples of the dataset.
        figures: by name; flat ground's and blindness' with the suffixes of ``town_evaluation.KINDS``.
        by_sample: figures of the network alone, in the order of ``indices``.
        split: the split that they are of.
        took_s: seconds.
    """

    scorer: Scorer[Any]
    indices: tuple[int, ...]
    figures: dict[str, float]
    by_sample: tuple[dict[str, float], ...]
    split: str
    took_s: float

    def result(self) -> dict[str, Any]:
        """Everything for JSON."""
        scorer, dataset = self.scorer, self.scorer.dataset
        settings = {**asdict(scorer.settings), "split": self.split}
        settings["bags"] = [str(path) for path in scorer.settings.bags]
        samples = [
            {"drive": str(dataset.drives[i]), "stamp_ns": int(dataset.stamps_ns[i]), **figures}
            for i, figures in zip(self.indices, self.by_sample, strict=True)
        ]
        return {
            "protocol": scorer.settings.protocol,
            "title": scorer.title,
            "dataset": str(dataset.root),
            "settings": settings,
            "notes": scorer.notes,
            "samples": len(self.indices),
            **self.figures,
            "by_sample": samples,
            "took_s": self.took_s,
        }


def evaluate(
    predictor: PredictorLike, dataset: Dataset, settings: Settings, progress: Progress | None = None
) -> Evaluation:
    """Score a predictor on a dataset.

    Args:
        progress: called with (samples done, samples in all).

    Raises:
        ProtocolError: the dataset has no truth for the protocol, or its classes are not the network's.
        DatasetError: there is no such split, or a file is damaged.
    """
    if settings.protocol not in SCORERS:
        raise ProtocolError(f"unknown protocol {settings.protocol!r} (known: {', '.join(PROTOCOLS)})")
    started = time.monotonic()
    scorer = SCORERS[settings.protocol](predictor, dataset, settings)
    with closing(scorer):
        return _evaluated(scorer, settings, started, progress)


def _evaluated(scorer: Scorer[Any], settings: Settings, started: float, progress: Progress | None) -> Evaluation:
    predictor, dataset = scorer.predictor, scorer.dataset
    split, inside = split_to_score(dataset, settings.split)
    if split != (settings.split or "val"):
        scorer.notes.append(f"the dataset has no validation split: scored on its samples of '{split}'")
    moving = travelling(dataset, inside, settings.min_travel_m)
    if not len(moving):
        raise ProtocolError(f"no sample of split '{split}' is followed by {settings.min_travel_m:g} m of travel")
    if settings.min_travel_m > 0:
        scorer.notes.append(f"only samples after which the vehicle goes at least {settings.min_travel_m:g} m")
    indices = with_truth(moving, scorer.has_truth, settings.samples, f"{scorer.lacks} in split '{split}'")
    _learn_ground(scorer)
    totals: dict[str, Score] = {MODEL: {}, FLAT_GROUND: {}, BLIND: {}}
    by_sample: list[dict[str, float]] = []
    away: list[float] = []
    for done, index in enumerate(indices.tolist()):
        truth = scorer.truth(index)
        sample = dataset.rig_sample(index)
        score = scorer.score(truth, predictor.predict(sample))
        by_sample.append(scorer.figures(score))
        totals[MODEL] = added(totals[MODEL], score)
        totals[FLAT_GROUND] = added(totals[FLAT_GROUND], scorer.score_ground(truth))
        far = far_sample(dataset, index) if settings.blind else None
        if far is not None:
            seen = predictor.predict(blinded(sample, dataset.rig_sample(far[0])))
            totals[BLIND] = added(totals[BLIND], scorer.score(truth, seen))
            away.append(far[1])
        if progress is not None:
            progress(done + 1, len(indices))
    if away:
        scorer.notes.append(_told_blindness(away))
    figures = {f"{name}{kind}": v for kind, s in totals.items() if s for name, v in scorer.figures(s).items()}
    took_s = round(time.monotonic() - started, 1)
    return Evaluation(scorer, tuple(indices.tolist()), figures, tuple(by_sample), split, took_s)


def _learn_ground(scorer: Scorer[Any]) -> None:
    """Choose flat ground on the training split, which no validation sample touches."""
    dataset = scorer.dataset
    training = np.flatnonzero(dataset.splits == "train")
    there = [index for index in evenly(training, 10 * scorer.chosen_on).tolist() if scorer.has_truth(index)]
    chosen = evenly(np.array(there, np.int64), scorer.chosen_on).tolist()
    where = f"{len(chosen)} samples of split 'train'" if chosen else "nothing, as split 'train' has no truth"
    scorer.learn_ground(chosen, where)


def _told_blindness(away: list[float]) -> str:
    nearest = min(away)
    if np.isinf(nearest):
        return "blind: fed the images of another drive"
    warning = ", so near that it is not quite blind" if nearest < SAME_PLACE_M else ""
    return f"blind: fed images of the same drive, taken {nearest:.0f} m away or further{warning}"
