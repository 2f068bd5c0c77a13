# SPDX-License-Identifier: Apache-2.0
"""Chooses the occupancy decision on training drives: thresholds by height and the weight of the lowest corner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from selfocc_ros.model.config import DecisionConfig
from selfocc_ros.model.families import Network
from selfocc_ros.model.selfocc import occupancy_score
from selfocc_ros.runtime.predictor import Predictor
from selfocc_ros.town.rigs import load_rig
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import render_frame, stamp_of, truth_volume
from selfocc_training.metrics.occ3d import FREE_CLASS
from selfocc_training.town_evaluation import encode_sample

CORNER_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
THRESHOLDS = tuple(round(-1.0 + 0.05 * i, 2) for i in range(41))
ROUNDS = 4
"""Passes over the layers; the choice no longer changes after two or three."""

Sample = tuple[Tensor, Tensor, Tensor, Tensor]
DRIVES = 40
"""Training drives that the decision is chosen on, spread over the seeds."""
AT_S = (4.0, 9.0)
"""Moments of each drive, seconds."""


def choose_decision(samples: Iterable[Sample]) -> tuple[DecisionConfig, dict[str, float]]:
    """Decision with the best sum of IoU and above-ground IoU over the samples: corner weight, threshold per layer.

    Args:
        samples: per sample the field's distances at the corners of the voxels (X+1, Y+1, Z+1), true occupancy, camera
            mask and above-ground mask, all boolean (X, Y, Z).

    Returns:
        the decision and the IoUs that it reaches on these samples.
    """
    total: Tensor | None = None
    for nodes, occupied, mask, above in samples:
        # (scopes, weights, layers, thresholds, hits and union): enough to score any choice of thresholds later.
        counts = torch.stack(
            [
                torch.stack([_counts(occupancy_score(nodes, weight), occupied, region) for weight in CORNER_WEIGHTS])
                for region in (mask, mask & above)
            ]
        )
        total = counts if total is None else total + counts
    if total is None:
        raise ValueError("a decision needs at least one sample")
    found = [_best_thresholds(total[:, i]) for i in range(len(CORNER_WEIGHTS))]
    best = max(range(len(found)), key=lambda i: sum(found[i][1]))
    chosen, (iou, above_ground) = found[best]
    decision = DecisionConfig(tuple(THRESHOLDS[j] for j in chosen), CORNER_WEIGHTS[best])
    return decision, {"iou": iou, "iou_above_ground": above_ground}


def _counts(score: Tensor, occupied: Tensor, region: Tensor) -> Tensor:
    """(layers, thresholds, 2): hits and union in the region if a layer's cells below each threshold were occupied."""
    edges = torch.tensor(THRESHOLDS)
    layers = []
    for z in range(score.shape[2]):
        inside = region[:, :, z]
        # Cells fall below the thresholds from their bin upwards.
        bins = torch.bucketize(score[:, :, z][inside], edges, right=True)
        truth = occupied[:, :, z][inside]
        predicted = torch.bincount(bins, minlength=len(edges) + 1).cumsum(0)[: len(edges)]
        hits = torch.bincount(bins[truth], minlength=len(edges) + 1).cumsum(0)[: len(edges)]
        layers.append(torch.stack([hits, predicted + truth.sum() - hits], dim=-1))
    return torch.stack(layers).double()


def _best_thresholds(counts: Tensor) -> tuple[list[int], tuple[float, float]]:
    """Thresholds by layer from counts (2 scopes, layers, thresholds, 2), layer after layer until nothing improves."""

    def scores(chosen: list[int]) -> tuple[float, float]:
        sums = counts[:, torch.arange(len(chosen)), chosen].sum(dim=1)
        iou = sums[:, 0] / sums[:, 1].clamp(min=1)
        return float(iou[0]), float(iou[1])

    chosen = [THRESHOLDS.index(0.0)] * counts.shape[1]
    for _ in range(ROUNDS):
        for layer in range(len(chosen)):
            options = [[*chosen[:layer], j, *chosen[layer + 1 :]] for j in range(len(THRESHOLDS))]
            chosen = max(options, key=lambda option: sum(scores(option)))
    return chosen, scores(chosen)


def decide_on_towns(model: Network, seeds: Sequence[int]) -> tuple[DecisionConfig, dict[str, float]]:
    """Decision of ``choose_decision`` on drives among ``seeds``, which must be training drives.

    The network stays on the device that it is on.
    """
    spread = sorted({seeds[round(i)] for i in np.linspace(0, len(seeds) - 1, DRIVES)})
    device = next(model.parameters()).device
    return choose_decision(_samples(Predictor(model, device.type), spread))


def _samples(predictor: Predictor, seeds: Iterable[int]) -> Iterator[Sample]:
    for seed in seeds:
        town, rig = Town(seed, seconds=max(AT_S) + 2.0), load_rig("surround6").jittered(seed)
        for at in AT_S:
            frame = render_frame(town, rig, stamp_of(at))
            truth = truth_volume(town, frame, predictor.config.grid)
            scene = predictor.predict(encode_sample(frame)).scene
            occupied = torch.from_numpy(truth.classes != FREE_CLASS)
            yield (
                predictor.model.corner_distances(scene).cpu(),
                occupied,
                torch.from_numpy(truth.camera_mask),
                torch.from_numpy(truth.above_ground),
            )
