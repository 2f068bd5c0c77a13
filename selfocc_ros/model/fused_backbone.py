# SPDX-License-Identifier: Apache-2.0
"""A backbone of ``transformers`` for the ``fast`` family: its four maps fused into one, told where pixels look."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfocc_ros.model.backbone import RAY_CHANNELS
from selfocc_ros.model.config import IMAGENET_MEAN, IMAGENET_STD, BackboneConfig
from selfocc_ros.model.image_backbone import ImageBackbone
from selfocc_ros.model.layers import ConvNorm


class FusedBackbone(nn.Module):
    """Maps at strides 4, 8, 16, 32 summed top-down at stride 4 (feature pyramid network, Lin et al. 2017).

    Pretrained weights know nothing of calibration, so the rays enter behind them, at every level.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.image = ImageBackbone(config)
        self.laterals = nn.ModuleList(nn.Conv2d(channels, config.neck, 1) for channels in config.channels)
        self.rays = nn.ModuleList(nn.Conv2d(RAY_CHANNELS, config.neck, 1, bias=False) for _ in config.channels)
        self.smooth = nn.ModuleList(ConvNorm(config.neck, config.neck) for _ in config.channels[1:])
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).reshape(3, 1, 1), persistent=False)

    def forward(self, images: Tensor, rays: Tensor) -> Tensor:
        """Images (N, 3, H, W) in 0..255 and ``ray_features`` to (N, neck, H / 4, W / 4)."""
        normalised = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        maps = self.image(normalised)
        levels = [
            lateral(features) + ray(F.adaptive_avg_pool2d(rays, features.shape[-2:]))
            for lateral, ray, features in zip(self.laterals, self.rays, maps, strict=True)
        ]
        fused: Tensor = levels.pop()
        for smooth, level in zip(reversed(self.smooth), reversed(levels), strict=True):
            fused = smooth(level + F.interpolate(fused, size=level.shape[-2:], mode="nearest"))
        return fused

    def load_pretrained(self) -> None:
        """Take over the weights that the configuration names, see ``ImageBackbone.load_pretrained``."""
        self.image.load_pretrained()
