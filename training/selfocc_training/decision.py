# SPDX-License-Identifier: Apache-2.0
"""Chooses the occupancy decision on training drives: threshold and weight of the lowest corner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from selfocc_ros.model.selfocc import SelfOcc, occupancy_score
from selfocc_ros.runtime.predictor import Predictor
from selfocc_ros.town.rigs import load_rig
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import render_frame, stamp_of, truth_volume
from selfocc_training.metrics import FREE_CLASS
from selfocc_training.town_evaluation import encode_sample

CORNER_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
THRESHOLDS = tuple(round(-0.5 + 0.05 * i, 2) for i in range(31))


Sample = tuple[Tensor, Tensor, Tensor, Tensor]
DRIVES = 12
"""Training drives that the decision is chosen on, spread over the seeds."""
AT_S = (4.0, 9.0)
"""Moments of each drive, seconds."""


def choose_decision(
    samples: Iterable[Sample],
) -> tuple[float, float, dict[str, float]]:
    """Decision with the best sum of IoU and above-ground IoU over the samples.

    Args:
        samples: per sample the field's nodes (X+1, Y+1, Z+1), true occupancy, camera mask and above-ground mask, all
            boolean (X, Y, Z).

    Returns:
        threshold in metres, weight of the lowest corner, and the IoUs reached on these drives.
    """
    counts = torch.zeros(2, len(CORNER_WEIGHTS), len(THRESHOLDS), 2)  # scope, weight, threshold, (inter, union)
    for nodes, occupied, mask, above in samples:
        for i, weight in enumerate(CORNER_WEIGHTS):
            score = occupancy_score(nodes, weight)
            for scope, region in enumerate((mask, mask & above)):
                inside, truth = score[region], occupied[region]
                for j, threshold in enumerate(THRESHOLDS):
                    predicted = inside < threshold
                    counts[scope, i, j, 0] += (predicted & truth).sum()
                    counts[scope, i, j, 1] += (predicted | truth).sum()
    iou = counts[..., 0] / counts[..., 1].clamp(min=1)
    best = int(iou.sum(dim=0).argmax())
    i, j = divmod(best, len(THRESHOLDS))
    reached = {"iou": float(iou[0, i, j]), "iou_above_ground": float(iou[1, i, j])}
    return THRESHOLDS[j], CORNER_WEIGHTS[i], reached


def decide_on_towns(model: SelfOcc, seeds: Sequence[int]) -> tuple[float, float, dict[str, float]]:
    """Decision of ``choose_decision`` on drives among ``seeds``, which must be training drives."""
    spread = sorted({seeds[round(i)] for i in np.linspace(0, len(seeds) - 1, DRIVES)})
    return choose_decision(_samples(Predictor(model), spread))


def _samples(predictor: Predictor, seeds: Iterable[int]) -> Iterator[Sample]:
    for seed in seeds:
        town, rig = Town(seed, seconds=max(AT_S) + 2.0), load_rig("surround6").jittered(seed)
        for at in AT_S:
            frame = render_frame(town, rig, stamp_of(at))
            truth = truth_volume(town, frame, predictor.config.grid)
            scene = predictor.predict(encode_sample(frame)).scene
            occupied = torch.from_numpy(truth.classes != FREE_CLASS)
            yield (
                scene.nodes.cpu(),
                occupied,
                torch.from_numpy(truth.camera_mask),
                torch.from_numpy(truth.above_ground),
            )
