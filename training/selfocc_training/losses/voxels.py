# SPDX-License-Identifier: Apache-2.0
"""Voxels against their labels: whether something is there, and what.

Being free is the complement of being occupied: a voxel is of class c with probability o p_c and free with 1 - o, where
o is the sigmoid of its occupancy logit and p the softmax of its class logits. So one field says where things are,
whether images or labels have taught it, and the classes say what they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfocc_training.losses.lovasz import lovasz_softmax


def voxel_occupancy(logits: Tensor, occupied: Tensor) -> Tensor:
    """Mean binary cross entropy of occupancy logits (V,) with what is occupied (V,) bool; 0 for no voxels."""
    if not len(logits):
        return logits.sum()
    return F.binary_cross_entropy_with_logits(logits, occupied.to(logits.dtype))


def voxel_cross_entropy(occupancy: Tensor, log_classes: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy over classes and free: -log(o p_c), or -log(1 - o) where a voxel is free.

    Args:
        occupancy: (V,) logits.
        log_classes: (M, C) logarithms of the class probabilities of the M voxels that are not free, in their order.
        labels: (V,) integers 0..C-1, C is free.
    """
    occupied = labels < log_classes.shape[1]
    named = log_classes.gather(1, labels[occupied].unsqueeze(1)).sum()
    return voxel_occupancy(occupancy, occupied) - named / max(1, len(labels))


def voxel_lovasz(occupancy: Tensor, log_classes: Tensor, labels: Tensor) -> Tensor:
    """Lovász-softmax over classes and free, of those that the labels hold.

    Args:
        occupancy: (V,) logits.
        log_classes: (V, C) logarithms of the class probabilities.
        labels: (V,) integers 0..C-1, C is free.
    """
    if not len(labels):
        return occupancy.sum()
    something = torch.sigmoid(occupancy).unsqueeze(1)
    p_VC = torch.cat([something * log_classes.exp(), 1.0 - something], dim=1)
    # What the labels lack is left out beforehand: each class costs a sort of all voxels.
    present = torch.bincount(labels, minlength=p_VC.shape[1]) > 0
    labels = (present.cumsum(dim=0) - 1)[labels]
    return lovasz_softmax(p_VC[:, present].T.unsqueeze(0), labels.unsqueeze(0), classes="all")
