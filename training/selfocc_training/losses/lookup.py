# SPDX-License-Identifier: Apache-2.0
"""From pixels of one image to colours, masks and labels of another.

Two conventions say where pixel (u, v) lies on an image of W x H (``PixelConvention``):

- ``"selfocc"``, the default of all losses here: the official one. The image spans 0 < u < W, and colours are read at
  2 u / W - 1 with corners aligned, so that 0 and W are the centres of the first and the last column.
- ``"centres"``, this project's (OpenCV, CameraInfo): integers are pixel centres, the image spans -0.5 <= u < W - 0.5.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from selfocc_training.losses.masks import require_boolean

PixelConvention = Literal["selfocc", "centres"]

NEAREST = 1e-5
"""Projective depth below which division stops; such proposals may still be inside, as in the official code."""

LEAST_COVERAGE = 0.2
"""Just below the 1/4 that the nearest pixel has at least in a bilinear mean."""


def unit_colours(images: Tensor) -> Tensor:
    """Colours as floats: uint8 / 256, as in SelfOcc, or floats unchanged."""
    return images.float() / 256.0 if images.dtype == torch.uint8 else images


def project(pixels: Tensor, depths: Tensor, source_pixel_from_pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels of a source at which proposals along rays appear (SelfOcc, sec. 3.3): K_s T K_t^-1.

    Args:
        pixels: (N, R, 2) u, v of the rays in the target.
        depths: (N, R, S) z-depths of the proposals in the target's camera, metres.
        source_pixel_from_pixel: (N, 4, 4) maps (u z, v z, z, 1) of the target to that of the source.

    Returns:
        pixels (N, R, S, 2) and z-depths (N, R, S) in the source.
    """
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
    directions = torch.einsum("nij,nrj->nri", source_pixel_from_pixel[:, :3, :3], homogeneous)
    points = depths.unsqueeze(-1) * directions.unsqueeze(2) + source_pixel_from_pixel[:, None, None, :3, 3]
    depth = points[..., 2]
    return points[..., :2] / depth.clamp(min=NEAREST).unsqueeze(-1), depth


def inside_image(pixels: Tensor, depths: Tensor, image: tuple[int, int], convention: PixelConvention) -> Tensor:
    """Whether projections (..., 2) with z-depths (...) lie before the camera and on the image (height, width)."""
    height, width = image
    u, v = pixels.unbind(dim=-1)
    if convention == "selfocc":
        on_image = (u > 0) & (u < width) & (v > 0) & (v < height)
    else:
        on_image = (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
    return on_image & (depths > 0)


def sample_colours(
    images: Tensor, pixels: Tensor, convention: PixelConvention = "selfocc", use: Tensor | None = None
) -> Tensor:
    """Bilinear colours; beyond the border, those of the border.

    Args:
        images: (N, C, H, W).
        pixels: (N, ..., 2) u, v.
        use: (N, H, W) bool. The bilinear mean is taken over used pixels alone, so that nothing of a masked one seeps
            over its edge; without a used pixel near by the result is finite and means nothing.

    Returns:
        (N, ..., C).
    """
    height, width = images.shape[-2:]
    scale = torch.tensor([2.0 / width, 2.0 / height], device=pixels.device)
    shift = 0.0 if convention == "selfocc" else 0.5
    normalised = ((pixels + shift) * scale - 1.0).reshape(images.shape[0], -1, 1, 2)
    if use is not None:
        coverage = use.unsqueeze(1)
        images = torch.cat([torch.where(coverage, images, 0.0), coverage.to(images.dtype)], dim=1)
    found = F.grid_sample(images, normalised, padding_mode="border", align_corners=convention == "selfocc")
    if use is not None:
        found = found[:, :-1] / found[:, -1:].clamp(min=LEAST_COVERAGE)
    return found[..., 0].transpose(1, 2).reshape(*pixels.shape[:-1], -1)


def sample_mask(use: Tensor, pixels: Tensor, convention: PixelConvention = "selfocc") -> Tensor:
    """Mask (N, H, W) at the pixels (N, ..., 2), nearest neighbour: (N, ...) bool."""
    require_boolean(use)
    if convention == "selfocc":
        height, width = use.shape[-2:]
        pixels = pixels * torch.tensor([(width - 1) / width, (height - 1) / height], device=pixels.device)
    return _gather(use, pixels.round())


def sample_labels(labels: Tensor, pixels: Tensor, convention: PixelConvention = "selfocc") -> Tensor:
    """Labels (N, H, W) at the pixels (N, ..., 2): (N, ...) int64; SelfOcc takes the pixel at the floor of u, v."""
    return _gather(labels, pixels.floor() if convention == "selfocc" else pixels.round()).long()


def _gather(values: Tensor, indices: Tensor) -> Tensor:
    height, width = values.shape[-2:]
    column = indices[..., 0].clamp(0, width - 1).long()
    row = indices[..., 1].clamp(0, height - 1).long()
    flat = (row * width + column).flatten(1)
    return values.flatten(1).gather(1, flat).reshape(indices.shape[:-1])
