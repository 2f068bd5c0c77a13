# SPDX-License-Identifier: Apache-2.0
"""Which plane tokens each camera serves, and where their anchors lie in its image: all that depends on the rig."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

NEAREST = 1e-5  # metres in front of the camera, as published
FARTHEST_OUTSIDE = 16.0
"""Anchors are kept within so many image sizes, where nothing is sampled any more and integers still hold them."""


@dataclass(frozen=True)
class CameraHits:
    """Tokens of a slab that one camera serves.

    Attributes:
        camera: position of the camera among the feature maps.
        rows: (n,) positions of the tokens within the slab.
        references: (n, anchors, 2) where the tokens' anchors lie in the network's image, as (x, y), 0..1 inside.
    """

    camera: int
    rows: Tensor
    references: Tensor


@dataclass(frozen=True)
class Slab:
    """Tokens ``start`` to ``stop`` of a plane, and the cameras that serve any of them."""

    start: int
    stop: int
    hits: tuple[CameraHits, ...]


@dataclass(frozen=True)
class PlaneHits:
    """A plane seen by a rig.

    Attributes:
        slabs: the plane's tokens in order.
        counts: (tokens,) number of cameras that serve each token.
    """

    slabs: tuple[Slab, ...]
    counts: Tensor


@dataclass(frozen=True)
class PlaneRigCache:
    """Geometry of a rig for an encoder; computed once and reused until calibration changes.

    Attributes:
        cameras: (N,) which camera embedding each feature map uses.
        planes: by the plane's name.
        slab_samples: samples that attention holds at a time.
    """

    cameras: Tensor
    planes: Mapping[str, PlaneHits]
    slab_samples: int


def project_anchors(
    anchors: Tensor, image_from_box: Tensor, image_sizes: Tensor, focal_ratios: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Project anchors into one camera.

    Args:
        anchors: (T, P, 3) box frame, metres.
        image_from_box: (4, 4) box frame to pixel * depth.
        image_sizes: (2,) width and height of the crop that these pixels are of.
        focal_ratios: (2,) share of the network's input, along x and y, that the crop fills; None for all of it.

    Returns:
        references (T, P, 2) in the network's image, 0..1 inside, and whether each anchor is in front of the camera and
        strictly inside the crop (T, P).
    """
    # Written out: a matrix product would follow the precision that is set for networks.
    x, y, z = torch.split(anchors, 1, dim=-1)
    across, down, ahead, origin = image_from_box[:3].unbind(dim=1)
    projected = x * across + y * down + z * ahead + origin
    depth = projected[..., 2]
    shares = projected[..., :2] / depth.clamp(min=NEAREST).unsqueeze(-1) / image_sizes
    visible = (depth > NEAREST) & ((shares > 0) & (shares < 1)).all(dim=-1)
    if focal_ratios is not None:
        shares = shares * focal_ratios
    return shares.clamp(-FARTHEST_OUTSIDE, FARTHEST_OUTSIDE), visible


def plane_hits(
    anchors: Tensor, images_from_box: Tensor, image_sizes: Tensor, focal_ratios: Tensor | None, slab: int
) -> PlaneHits:
    """Tokens with at least one visible anchor, for each camera, cut into slabs of tokens.

    Args:
        anchors: (T, P, 3) of the plane's tokens.
        images_from_box: (N, 4, 4).
        image_sizes: (N, 2) width and height.
        focal_ratios: (N, 2) or None.
        slab: tokens per slab.
    """
    tokens = anchors.shape[0]
    starts = range(0, tokens, slab)
    edges = torch.tensor([*starts, tokens], device=anchors.device)
    counts = torch.zeros(tokens, dtype=torch.int64, device=anchors.device)
    hits: list[list[CameraHits]] = [[] for _ in starts]
    for camera, matrix in enumerate(images_from_box):
        ratios = None if focal_ratios is None else focal_ratios[camera]
        references, visible = project_anchors(anchors, matrix, image_sizes[camera], ratios)
        served = visible.any(dim=-1)
        counts += served
        token = served.nonzero()[:, 0]
        references = references[token]
        bounds = torch.searchsorted(token, edges).tolist()
        for i, (first, last) in enumerate(itertools.pairwise(bounds)):
            if first < last:
                hits[i].append(CameraHits(camera, token[first:last] - starts[i], references[first:last]))
    slabs = [Slab(start, min(start + slab, tokens), tuple(own)) for start, own in zip(starts, hits, strict=True)]
    return PlaneHits(tuple(slabs), counts)
