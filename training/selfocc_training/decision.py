# SPDX-License-Identifier: Apache-2.0
"""Chooses the occupancy decision on training drives: threshold and weight of the lowest corner."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from selfocc_ros.model.selfocc import occupancy_score

CORNER_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
THRESHOLDS = tuple(round(-0.5 + 0.05 * i, 2) for i in range(31))


def choose_decision(
    samples: Iterable[tuple[Tensor, Tensor, Tensor, Tensor]],
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
