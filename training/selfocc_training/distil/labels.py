# SPDX-License-Identifier: Apache-2.0
"""Labels of voxels out of fused volumes: occupied, free, or unknown where nobody saw or viewpoints disagree."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfocc_ros.model.config import DecisionConfig
from selfocc_ros.model.selfocc import decide
from selfocc_training.distil.fusion import FusedField

CLASSES = ("occupied",)
"""Names by label; what is free has the label after them."""
OCCUPIED, FREE, UNKNOWN = 0, 1, 255


def voxel_labels(fused: FusedField, decision: DecisionConfig, disagreement_m: float) -> NDArray[np.uint8]:
    """(X, Y, Z) OCCUPIED, FREE or UNKNOWN.

    The network's own rule (``model.selfocc.decide``: lowest corner, a threshold per height layer) decides about the
    fused distances as it does about those of a single moment. Unknown are voxels most of whose corners nobody saw, and
    those at whose corners the viewpoints differ, on average, by more than ``disagreement_m``.
    """
    occupied = decide(fused.distances, decision) < 0
    known = (_cell_means(fused.seen) > 0.5) & (_cell_means(fused.spread) <= disagreement_m)
    label = torch.where(occupied, OCCUPIED, FREE).where(known, UNKNOWN)
    return label.to(torch.uint8).cpu().numpy()


def _cell_means(corners: Tensor) -> Tensor:
    return F.avg_pool3d(corners[None, None], 2, stride=1)[0, 0]
