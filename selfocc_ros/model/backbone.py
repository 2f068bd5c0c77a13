# SPDX-License-Identifier: Apache-2.0
"""Image backbone that knows where its pixels look: colour beside the ray's relation to the ground.

Feeding each pixel's elevation, its inverse distance to flat ground and its angular size makes one network serve
cameras of any field of view, height and pitch: it need not guess from the picture what the calibration says.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfocc_ros.model.config import BackboneConfig
from selfocc_ros.model.layers import ConvNorm, ResidualBlock
from selfocc_ros.model.rig_tensors import RigTensors

STRIDE = 4
RAY_CHANNELS = 3
# Mean and spread of street images over 0..255; any fixed values serve, since nothing is pretrained.
IMAGE_MEAN, IMAGE_SCALE = 110.0, 60.0


def ray_features(rig: RigTensors, width: int, height: int) -> Tensor:
    """Per-pixel geometry of ``rig`` at half resolution: (N, 3, height / 2, width / 2).

    Channels: sine of the elevation above the horizon; inverse distance in 1/(5 m) at which the ray meets z = 0
    (0 above the horizon); log of the pixel's angular size against a 256 pixel, 70 degree camera.
    """
    rows = torch.arange(height // 2, device=rig.intrinsics.device) * 2 + 0.5
    columns = torch.arange(width // 2, device=rig.intrinsics.device) * 2 + 0.5
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([u, v], dim=-1).reshape(1, -1, 2).expand(len(rig), -1, 2)
    origins, directions, _ = rig.rays(pixels)
    elevation = directions[..., 2]
    camera_height = origins[..., 2].clamp(min=0.2)
    ground = (-elevation).clamp(min=0.0) / camera_height * 5.0
    angular = torch.log(183.0 / rig.intrinsics[:, :1]).expand_as(elevation)
    features = torch.stack([elevation, ground.clamp(max=4.0), angular], dim=1)
    return features.reshape(len(rig), RAY_CHANNELS, height // 2, width // 2)


class Backbone(nn.Module):
    """Convolutional pyramid (strides 2, 4, 8, 16) whose levels are summed top-down at stride 4."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        stem, quarter, eighth, sixteenth = config.channels
        self.stem = nn.Conv2d(3, stem, 3, 2, 1)
        self.ray_stem = nn.Conv2d(RAY_CHANNELS, stem, 1)
        self.quarter = nn.Sequential(ConvNorm(stem, quarter, stride=2), ResidualBlock(quarter))
        self.eighth = nn.Sequential(ConvNorm(quarter, eighth, stride=2), ResidualBlock(eighth))
        self.sixteenth = nn.Sequential(
            ConvNorm(eighth, sixteenth, stride=2), ResidualBlock(sixteenth), ResidualBlock(sixteenth)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(n, config.neck, 1) for n in (quarter, eighth, sixteenth))
        self.smooth = nn.ModuleList(ConvNorm(config.neck, config.neck) for _ in range(2))

    def forward(self, images: Tensor, rays: Tensor) -> Tensor:
        """Images (N, 3, H, W) in 0..255 and ``ray_features`` to (N, neck, H / 4, W / 4)."""
        normalised = ((images - IMAGE_MEAN) / IMAGE_SCALE).contiguous(memory_format=torch.channels_last)
        x = torch.relu(self.stem(normalised) + self.ray_stem(rays))
        quarter = self.quarter(x)
        eighth = self.eighth(quarter)
        top = self.laterals[2](self.sixteenth(eighth))
        top = self.smooth[0](self.laterals[1](eighth) + F.interpolate(top, size=eighth.shape[-2:], mode="nearest"))
        fused: Tensor = self.laterals[0](quarter) + F.interpolate(top, size=quarter.shape[-2:], mode="nearest")
        return self.smooth[1](fused)  # type: ignore[no-any-return]
