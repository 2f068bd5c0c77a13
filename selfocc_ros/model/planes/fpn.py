# SPDX-License-Identifier: Apache-2.0
"""Feature pyramid: backbone maps to maps of one width, each told what the coarser ones have seen."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FeaturePyramid(nn.Module):
    """Feature pyramid network (Lin et al. 2017): 1x1 lateral, sum from coarse to fine, 3x3 to smooth."""

    def __init__(self, inputs: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, outputs, 1) for channels in inputs)
        self.smooth = nn.ModuleList(nn.Conv2d(outputs, outputs, 3, padding=1) for _ in inputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (N, C_i, h_i, w_i), finest first, to (N, outputs, h_i, w_i)."""
        summed = [lateral(features) for lateral, features in zip(self.lateral, maps, strict=True)]
        for i in reversed(range(len(summed) - 1)):
            # To the exact finer size: an odd map is not half of the one below it.
            summed[i] = summed[i] + F.interpolate(summed[i + 1], size=summed[i].shape[-2:], mode="nearest")
        return [smooth(features) for smooth, features in zip(self.smooth, summed, strict=True)]
