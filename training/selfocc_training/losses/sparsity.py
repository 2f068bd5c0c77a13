# SPDX-License-Identifier: Apache-2.0
"""Terms that ask unseen space to be free: the signed distance (metres, positive in free space) has a price inside.

Soft is SelfOcc's (Huang et al. 2024); the others are alternatives that its code offers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def soft_sparsity(distances: Tensor) -> Tensor:
    """Mean depth below the surface, relu(-f), of signed distances of any shape: metres."""
    return torch.relu(-distances).mean()


def streetsurf_sparsity(distances: Tensor, scale: float = 0.1) -> Tensor:
    """Mean of sech^2(f / (2 scale)) (StreetSurf, Guo et al. 2023): a price on surface, wherever it is.

    Args:
        distances: any shape, metres.
        scale: metres.
    """
    # The logistic form: 1 / cosh^2 has no gradient once cosh overflows.
    return 4.0 * (torch.sigmoid(distances / scale) * torch.sigmoid(-distances / scale)).mean()


def hard_sparsity(
    distances: Tensor, margins: Sequence[tuple[int, int]], scale: float = 10.0, threshold: float = 0.2
) -> Tensor:
    """Share of occupied space beyond what is allowed: relu(mean sigmoid(-scale f) - threshold).

    Args:
        distances: on a regular grid of any number of dimensions, metres.
        margins: slabs at the first and at the last end of each dimension that pass as free. SelfOcc, whose grids are
            [y, x, z], leaves out ((1, 1), (1, 0), (0, 1)).
        scale: 1/m.
        threshold: share of the space that may be occupied.
    """
    inner = distances
    for axis, (first, last) in enumerate(margins):
        inner = inner.narrow(axis, first, distances.shape[axis] - first - last)
    return torch.relu(torch.sigmoid(-scale * inner).sum() / distances.numel() - threshold)


def adaptive_sparsity(distances: Tensor, depths: Tensor, rendered: Tensor, slack: float = 4.0) -> Tensor:
    """Mean of relu(-f) over the samples that lie behind what a ray renders: the far side of things is not known solid.

    Args:
        distances: (N, R, S) signed distances at the samples, metres.
        depths: (N, R, S) their z-depths, metres.
        rendered: (N, R) rendered z-depths, metres; decides which samples count, and has no gradient.
        slack: metres behind the rendered depth that are spared.

    Returns:
        scalar; zero if no sample lies there.
    """
    behind = depths > rendered.unsqueeze(-1) + slack
    return torch.where(behind, torch.relu(-distances), 0.0).sum() / behind.sum().clamp(min=1)
