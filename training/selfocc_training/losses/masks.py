# SPDX-License-Identifier: Apache-2.0
"""Use-masks: which pixels of an image a loss may look at.

A mask is a boolean image, True = use. The own bonnet (one mask per camera) and moving things (one mask per image) are
both said this way; ``combine_masks`` joins them. A masked pixel is never a target, and what a loss looks up in a
source does not count where it lands on one.
"""

from __future__ import annotations

import torch
from torch import Tensor


def combine_masks(*masks: Tensor | None) -> Tensor | None:
    """Pixels that all masks allow.

    Args:
        masks: bool, of shapes that broadcast (``ego[:, None]`` with ``moving`` of (N, K, H, W)); None allows all.

    Returns:
        bool, or None if all masks are None.
    """
    combined: Tensor | None = None
    for mask in masks:
        if mask is None:
            continue
        require_boolean(mask)
        combined = mask if combined is None else combined & mask
    return combined


def require_boolean(mask: Tensor) -> None:
    """Refuse masks of numbers, which may mean either thing.

    Raises:
        ValueError: if the mask is not boolean.
    """
    if mask.dtype != torch.bool:
        raise ValueError(f"a use-mask is a boolean image, True = use; found {mask.dtype}.")


def masked_mean(values: Tensor, use: Tensor | None) -> Tensor:
    """Mean of the values where ``use`` (same shape) is True; zero, with zero gradient, where it is so nowhere."""
    if use is None:
        return values.mean()
    return torch.where(use, values, 0.0).sum() / use.sum().clamp(min=1)
