# SPDX-License-Identifier: Apache-2.0
"""NeuS volume rendering of a Scene (Wang et al. 2021, eqs. 10-13)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from selfocc_ros.model.config import RendererConfig
from selfocc_ros.model.scene import Scene


@dataclass(frozen=True)
class Rendered:
    """R rays cut into S sections each.

    Attributes:
        weights: (R, S) probability that the ray ends in the section.
        distances: (R, S) metres along the ray at which each section's surface lies.
        left: (R,) transmittance that is left at the far end of the box.
        exits: (R,) metres along the ray where it leaves the box.
        read_at: (R, S) metres along the ray at which colour and classes of each section are read.
    """

    weights: Tensor
    distances: Tensor
    left: Tensor
    exits: Tensor
    read_at: Tensor

    def expected_distance(self) -> Tensor:
        """(R,) metres along the ray, over what was hit inside the box; the exit where nothing was."""
        opacity = self.weights.sum(dim=-1)
        mean = (self.weights * self.distances).sum(dim=-1) / opacity.clamp(min=1e-4)
        return torch.where(opacity > 1e-3, mean, self.exits)

    def median_distance(self) -> Tensor:
        """(R,) metres along the ray by which half of what the box stops has been stopped; the exit where nothing is.

        Between a near edge and what lies behind it, where the mean is at neither, this is at one of them.
        """
        stopped = self.weights.cumsum(dim=-1)
        opacity = stopped[:, -1:]
        at = (stopped < 0.5 * opacity).sum(dim=-1, keepdim=True).clamp(max=stopped.shape[-1] - 1)
        median = self.distances.gather(-1, at)[:, 0]
        return torch.where(opacity[:, 0] > 1e-3, median, self.exits)


def box_interval(origins: Tensor, directions: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Entry (not before the origin) and exit in metres along rays (R, 3) through a box, by the slab test."""
    safe = torch.where(directions.abs() < 1e-6, torch.full_like(directions, 1e-6), directions)
    a, b = (lower - origins) / safe, (upper - origins) / safe
    entry = torch.minimum(a, b).amax(dim=-1).clamp(min=0.0)
    leave = torch.maximum(a, b).amin(dim=-1)
    return entry, torch.maximum(leave, entry + 1e-3)


def section_edges(entry: Tensor, leave: Tensor, samples: int, near_density: float, jitter: Tensor | None) -> Tensor:
    """Edges (R, S + 1) of sections between entry and exit, ``near_density`` times denser at the near end.

    ``jitter`` (R, 1) in 0..1 shifts all inner edges of a ray by up to one section, as SelfOcc does in training.
    """
    steps = torch.arange(samples + 1, device=entry.device, dtype=entry.dtype).expand(entry.shape[0], -1)
    if jitter is not None:
        steps = torch.cat([steps[:, :1], steps[:, 1:-1] + jitter - 0.5, steps[:, -1:]], dim=-1)
    s = steps / samples
    if near_density != 1.0:
        s = torch.expm1(s * math.log(near_density)) / (near_density - 1.0)
    return entry[:, None] + (leave - entry)[:, None] * s


def render(
    scene: Scene,
    origins: Tensor,
    directions: Tensor,
    config: RendererConfig,
    jitter: Tensor | None = None,
    samples: int | None = None,
) -> Rendered:
    """Render rays.

    Opacity of a section is that of NeuS eq. 13 from the field at its two ends; the surface inside a section is placed
    where the field crosses zero between them, so that depth is finer than the sections are.

    Args:
        origins, directions: (R, 3) metres and unit vectors in the scene's frame.
        jitter: (R, 1) uniform in 0..1 for training, None for the same sections each time.
        samples: sections per ray, when other than configured.
    """
    entry, leave = box_interval(origins, directions, scene.lower, scene.upper)
    edges = section_edges(entry, leave, samples or config.samples, config.near_density, jitter)
    values = scene.sdf(origins[:, None] + directions[:, None] * edges[..., None])
    cumulative = torch.sigmoid(values * scene.sharpness)
    ahead, behind = cumulative[:, :-1], cumulative[:, 1:]
    alpha = ((ahead - behind) / ahead.clamp(min=1e-5)).clamp(0.0, 1.0)
    passing = torch.cumprod(1.0 - alpha + 1e-7, dim=-1)
    before = torch.cat([torch.ones_like(passing[:, :1]), passing[:, :-1]], dim=-1)
    with torch.no_grad():
        near, far = values[:, :-1], values[:, 1:]
        crosses = (near > 0) & (far < 0)
        share = torch.where(crosses, near / (near - far).clamp(min=1e-6), torch.full_like(near, 0.5))
    distances = edges[:, :-1] + (edges[:, 1:] - edges[:, :-1]) * share
    return Rendered(alpha * before, distances, passing[:, -1], leave, distances)


def rendered_colour(scene: Scene, rendered: Rendered, origins: Tensor, directions: Tensor) -> Tensor:
    """(R, 3) volume-rendered colour over what was hit inside the box, 0..1."""
    points = origins[:, None] + directions[:, None] * rendered.read_at[..., None]
    colour = (rendered.weights[..., None] * scene.colour(points)).sum(dim=1)
    return colour / rendered.weights.sum(dim=-1, keepdim=True).clamp(min=1e-3)
