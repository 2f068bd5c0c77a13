# SPDX-License-Identifier: Apache-2.0
"""The views of one training step: what is rendered, and the moments before and after that it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selfocc_ros.model.rig_tensors import RigTensors

UNLABELLED = 255
"""Class of pixels that nobody has named."""


@dataclass(frozen=True)
class Views:
    """V views whose rays are rendered, each with K source frames of the same camera.

    Masks are boolean images, True = use: a masked pixel is no target, and finding it in a source tells nothing.

    Attributes:
        images: (V, 3, H, W) 0..1 of the anchors.
        sources: (V, K, 3, H, W) 0..1.
        rigs: cameras of the anchors, posed in the frame of the rendered scene.
        source_rigs: K rigs of V cameras each, posed likewise.
        pairs: sources of like baseline, the nearest first; each pair has its own minimum.
        use: (V, H, W) bool, pixels of the anchors that count; None: all.
        source_use: (V, K, H, W) bool, pixels of the sources that count; None: all.
        labels: (V, H, W) integers, class of each pixel of the anchors, ``UNLABELLED`` where it is not known; or None.
    """

    images: Tensor
    sources: Tensor
    rigs: RigTensors
    source_rigs: tuple[RigTensors, ...]
    pairs: tuple[tuple[int, ...], ...] = ((0, 1),)
    use: Tensor | None = None
    source_use: Tensor | None = None
    labels: Tensor | None = None

    def first(self, count: int) -> Views:
        """The first ``count`` views."""
        chosen = torch.arange(count)
        return Views(
            self.images[:count],
            self.sources[:count],
            self.rigs.select(chosen),
            tuple(rig.select(chosen) for rig in self.source_rigs),
            self.pairs,
            None if self.use is None else self.use[:count],
            None if self.source_use is None else self.source_use[:count],
            None if self.labels is None else self.labels[:count],
        )

    def source_pixel_from_pixel(self) -> Tensor:
        """(V, K, 4, 4) take (u z, v z, z, 1) of an anchor to that of its sources."""
        ground_from_pixel = torch.linalg.inv(_pixel_from_ground(self.rigs))
        matrices = [_pixel_from_ground(rig) @ ground_from_pixel for rig in self.source_rigs]
        return torch.stack(matrices, dim=1).to(self.images.dtype)

    def source_area(self) -> Tensor | None:
        """(V, K, H, W) bool, where sources are no padding; None if there is no padding."""
        area = picture_area(torch.stack([rig.sizes for rig in self.source_rigs], dim=1), self.sources.shape[-2:])
        return None if bool(area.all()) else area


def picture_area(sizes: Tensor, padded: Sequence[int]) -> Tensor:
    """(..., H, W) bool, where pictures of ``sizes`` (..., 2) width, height are no padding; ``padded`` is H, W."""
    height, width = padded
    columns = torch.arange(width, device=sizes.device) < sizes[..., 0, None, None]
    rows = torch.arange(height, device=sizes.device).unsqueeze(-1) < sizes[..., 1, None, None]
    return rows & columns


def _pixel_from_ground(rig: RigTensors) -> Tensor:
    """(N, 4, 4) float64: positions of an odometry frame lose centimetres in float32 products."""
    camera = torch.eye(4, dtype=torch.float64, device=rig.intrinsics.device).repeat(len(rig), 1, 1)
    camera[:, [0, 1], [0, 1]] = rig.intrinsics[:, :2].double()
    camera[:, :2, 2] = rig.intrinsics[:, 2:].double()
    pixel_from_ground: Tensor = camera @ torch.linalg.inv(rig.base_from_camera.double())
    return pixel_from_ground
