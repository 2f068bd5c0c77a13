# SPDX-License-Identifier: Apache-2.0
"""Bird's eye encoder: 2D convolutions over the lifted volume, heights folded into channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfocc_ros.model.config import EncoderConfig
from selfocc_ros.model.layers import ConvNorm, ResidualBlock


class BirdsEyeEncoder(nn.Module):
    """A small U-net: full, half and quarter resolution, summed on the way back up."""

    def __init__(self, config: EncoderConfig, inputs: int) -> None:
        super().__init__()
        channels = config.channels
        self.reduce = ConvNorm(inputs, channels, kernel=1)
        self.stages = nn.ModuleList()
        for level, blocks in enumerate(config.blocks):
            layers: list[nn.Module] = [ConvNorm(channels, channels, stride=2)] if level else []
            layers += [ResidualBlock(channels) for _ in range(blocks)]
            self.stages.append(nn.Sequential(*layers))
        self.merges = nn.ModuleList(ConvNorm(channels, channels) for _ in config.blocks[1:])

    def forward(self, plane: Tensor) -> Tensor:
        """(1, inputs, X, Y) to (1, channels, X, Y)."""
        x: Tensor = self.reduce(plane.contiguous(memory_format=torch.channels_last))
        levels: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        for merge, level in zip(reversed(self.merges), reversed(levels[:-1]), strict=True):
            x = merge(level + F.interpolate(x, size=level.shape[-2:], mode="bilinear", align_corners=True))
        return x
