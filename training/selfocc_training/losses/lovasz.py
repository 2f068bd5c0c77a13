# SPDX-License-Identifier: Apache-2.0
"""Lovász-softmax loss (Berman et al. 2018): a convex stand-in for 1 - IoU, class by class."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def lovasz_softmax(
    probabilities: Tensor,
    labels: Tensor,
    *,
    classes: Literal["present", "all"] = "present",
    ignore: int | None = None,
) -> Tensor:
    """Mean over classes of the Lovász extension of the Jaccard loss, at errors |1[label = c] - p_c|.

    Args:
        probabilities: (N, C, ...) of classes, as softmax over dimension 1 gives them.
        labels: (N, ...) integers 0..C-1.
        classes: mean over the classes that the labels hold, or over all.
        ignore: what has this label is left out.

    Returns:
        A scalar; 0 where nothing is left.

    Raises:
        ValueError: a label is no class.
    """
    count = probabilities.shape[1]
    p_PC = probabilities.movedim(1, -1).reshape(-1, count)
    labels_P = labels.reshape(-1)
    if ignore is not None:
        kept = labels_P != ignore
        p_PC, labels_P = p_PC[kept], labels_P[kept]
    if labels_P.numel() == 0:
        return probabilities.sum() * 0.0
    low, high = int(labels_P.min()), int(labels_P.max())
    if low < 0 or high >= count:
        raise ValueError(f"labels must lie within 0..{count - 1}, found {low}..{high}")
    true_PC = labels_P.unsqueeze(1) == torch.arange(count, device=labels.device)
    errors_PC, order = (true_PC.to(p_PC.dtype) - p_PC).abs().sort(dim=0, descending=True)
    losses_C = (errors_PC * _slopes(true_PC.gather(0, order)).to(errors_PC.dtype)).sum(dim=0)
    return losses_C[true_PC.any(dim=0)].mean() if classes == "present" else losses_C.mean()


def _slopes(true_PC: Tensor) -> Tensor:
    """What each voxel adds to the Jaccard loss (P, C), float64, when voxels are lost in the order of rows.

    Neighbours differ by one part in P, which single precision would leave few digits of.
    """
    true = true_PC.double()
    total = true.sum(dim=0)
    intersection = total - true.cumsum(dim=0)
    union = total + (1.0 - true).cumsum(dim=0)
    jaccard = 1.0 - intersection / union
    return torch.diff(jaccard, dim=0, prepend=torch.zeros_like(jaccard[:1]))
