# SPDX-License-Identifier: Apache-2.0
"""Rays of SelfOcc's renderer: which pixels, where they enter and leave the box, where they are sampled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rays:
    """R rays in the frame of the box.

    Attributes:
        origins: (R, 3) metres.
        directions: (R, 3) unit vectors.
        norms: (R,) length of the direction that reaches z-depth 1: metres along the ray over this are z-depth.
    """

    origins: Tensor
    directions: Tensor
    norms: Tensor


def pixel_grid(image: tuple[int, int], rows: int, columns: int, uniform: Tensor | None = None) -> Tensor:
    """Pixels (rows * columns, 2) as u, v of a regular grid, row by row.

    Without ``uniform`` the grid starts at pixel (0, 0) and covers the image evenly. With it, stride and offset are
    random, those in x apart from those in y (SelfOcc's "cellular" sampler).

    Args:
        image: (height, width) in pixels.
        uniform: (4,) values in 0..1: stride x, stride y, offset x, offset y.
    """
    height, width = image
    if uniform is None:
        u, v = torch.arange(columns) * (width / columns), torch.arange(rows) * (height / rows)
    else:
        stride_x = 1 + uniform[0] * (width / columns - 1)
        stride_y = 1 + uniform[1] * (height / rows - 1)
        u = uniform[2] * (width - columns * stride_x) + torch.arange(columns, device=uniform.device) * stride_x
        v = uniform[3] * (height - rows * stride_y) + torch.arange(rows, device=uniform.device) * stride_y
    down, across = torch.meshgrid(v, u, indexing="ij")
    return torch.stack([across, down], dim=-1).reshape(-1, 2)


def pixel_rays(box_from_pixel: Tensor, pixels: Tensor) -> Rays:
    """Rays of the same pixels in every camera, camera by camera: R = N * P.

    Args:
        box_from_pixel: (N, 4, 4) takes (u d, v d, d, 1) with z-depth d to a point in the frame of the box.
        pixels: (P, 2) u, v.
    """
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=-1)
    reach = torch.einsum("nij,pj->npi", box_from_pixel[:, :3, :3], homogeneous)
    norms = reach.norm(dim=-1, keepdim=True)
    origins = box_from_pixel[:, None, :3, 3].expand_as(reach)
    return Rays(origins.reshape(-1, 3), (reach / norms).reshape(-1, 3), norms.reshape(-1))


def box_interval(origins: Tensor, directions: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Entry (not before the origin) and exit (R, 1) in metres along rays (R, 3), by the slab test.

    A ray that misses the box gets an interval of a micrometre, so that nothing along it weighs anything.
    """
    inverse = 1.0 / (directions + 1e-6)
    a, b = (lower - origins) * inverse, (upper - origins) * inverse
    near = torch.minimum(a, b).amax(dim=-1, keepdim=True).clamp(min=0.0)
    far = torch.maximum(a, b).amin(dim=-1, keepdim=True)
    return near, torch.maximum(far, near + 1e-6)


def bin_edges(near: Tensor, far: Tensor, samples: int, jitter: Tensor | None = None) -> Tensor:
    """Edges (R, samples + 1), in metres along the ray, of bins of one length between near and far (R, 1).

    Args:
        jitter: (R, 1) uniform in 0..1, one for all edges of a ray: each edge lies at this share of the way between
            the middles of the bins on its two sides (stratified sampling); None for even bins.
    """
    share = torch.linspace(0.0, 1.0, samples + 1, dtype=near.dtype, device=near.device).expand(len(near), -1)
    if jitter is not None:
        middles = (share[:, 1:] + share[:, :-1]) / 2.0
        low = torch.cat([share[:, :1], middles], dim=-1)
        high = torch.cat([middles, share[:, -1:]], dim=-1)
        share = low + (high - low) * jitter
    return share * far + (1.0 - share) * near
