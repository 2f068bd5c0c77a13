# SPDX-License-Identifier: Apache-2.0
"""Convolution blocks shared by the image backbone and the bird's eye encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

GROUPS = 8


class ConvNorm(nn.Sequential):
    """3x3 (or 1x1) convolution, group norm, ReLU. Group norm, since a training step holds one rig, not a batch."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.GroupNorm(GROUPS, outputs),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an identity; the second starts at zero, so a deep stack starts shallow."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(GROUPS, channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return torch.relu(x + self.norm(self.second(self.first(x))))
