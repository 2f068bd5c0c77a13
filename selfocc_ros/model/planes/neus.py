# SPDX-License-Identifier: Apache-2.0
"""NeuS volume rendering (Wang et al. 2021) of a dense field grid, as SelfOcc does it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from selfocc_ros.model.planes.field_grid import FieldGrid
from selfocc_ros.model.planes.rays import bin_edges, box_interval

COLOURS = 3
"""The first features of a grid are colour coefficients; those that follow are class logits."""

_SH_DEGREE_0 = 0.28209479177387814  # 1 / (2 sqrt(pi)), the constant spherical harmonic


@dataclass(frozen=True)
class NeusRendered:
    """R rays with S samples each. Depths are along the camera's axis (z-depth), edges along the ray, all in metres.

    Attributes:
        edges: (R, S + 1) edges of the bins.
        sdf: (R, S) signed distance at the near edge of each bin.
        gradients: (R, S, 3) gradient of the signed distance there.
        alphas: (R, S) opacity of each bin.
        weights: (R, S) share of the ray's light that comes from each bin.
        opacity: (R,) sum of the weights.
        transmittance: (R,) what passes all bins.
        sample_depths: (R, S) z-depth of the middle of each bin.
        exit_depth: (R,) z-depth at which the ray leaves the box.
        depth: (R,) expected z-depth over what was hit; ill-defined where the opacity is near zero.
        normal: (R, 3) unit normal of what was hit.
        colour: (R, 3) RGB; or None where the grid has no features.
        classes: (R, K) probability per class, summing to the opacity; or None where the grid has no classes.
    """

    edges: Tensor
    sdf: Tensor
    gradients: Tensor
    alphas: Tensor
    weights: Tensor
    opacity: Tensor
    transmittance: Tensor
    sample_depths: Tensor
    exit_depth: Tensor
    depth: Tensor
    normal: Tensor
    colour: Tensor | None
    classes: Tensor | None


def anneal_ratio(step: int, end: int = 5000) -> float:
    """How far the cosine term has been brought in after ``step`` training steps: 0 at the start, 1 from ``end`` on."""
    return min(1.0, step / end) if end > 0 else 1.0


def sample_colour(coefficients: Tensor) -> Tensor:
    """Colour (..., 3), not below 0, of spherical harmonics of degree 0 (..., 3): the same from every direction."""
    return F.relu(_SH_DEGREE_0 * coefficients + 0.5)


def neus_alpha(sdf: Tensor, slope: Tensor, lengths: Tensor, sharpness: Tensor, anneal: float) -> Tensor:
    """Opacity (R, S) of bins, NeuS eq. 13, the field at both ends taken from its tangent at the near edge.

    Args:
        sdf: (R, S) metres.
        slope: (R, S) change of the distance per metre along the ray: the ray's direction times the gradient.
        lengths: (R, S) metres.
        sharpness: scalar s of NeuS, in 1/m.
        anneal: 1 counts surfaces seen from outside alone; below, with the share that is missing, also such that are
            seen edge-on or from behind, so that a field that starts out wrong gets gradients (NeuS's official code).
    """
    falling = -(F.relu(0.5 - 0.5 * slope) * (1.0 - anneal) + F.relu(-slope) * anneal)
    half = falling * lengths * 0.5
    ahead, behind = torch.sigmoid((sdf - half) * sharpness), torch.sigmoid((sdf + half) * sharpness)
    return ((ahead - behind + 1e-5) / (ahead + 1e-5)).clamp(0.0, 1.0)


def render_neus(
    grid: FieldGrid,
    origins: Tensor,
    directions: Tensor,
    direction_norms: Tensor,
    sharpness: Tensor,
    samples: int,
    anneal: float = 1.0,
    jitter: Tensor | None = None,
    background: Tensor | None = None,
    with_features: bool = True,
) -> NeusRendered:
    """Render rays.

    The field is read at the near edge of each bin, the depth of a bin is that of its middle.

    Args:
        grid: the fields.
        origins, directions: (R, 3) metres and unit vectors in the frame of the grid's box.
        direction_norms: (R,) metres along the ray per metre of z-depth (``Rays.norms``).
        sharpness: scalar s of NeuS, in 1/m.
        samples: bins per ray.
        anneal: see ``neus_alpha``; 1 at inference.
        jitter: (R, 1) uniform in 0..1 for training; None for even bins.
        background: (R, 3) colour of what lies behind the box; None for black.
        with_features: False leaves out colour and classes, which is most of the work.

    Returns:
        The renderings; colour is not clamped from above.
    """
    near, far = box_interval(origins, directions, grid.lower, grid.upper)
    edges = bin_edges(near, far, samples, jitter)
    points = origins[:, None] + directions[:, None] * edges[:, :-1, None]
    sdf, gradients = grid.sdf_at(points), grid.gradient_at(points)
    slope = (directions[:, None] * gradients).sum(dim=-1)
    alphas = neus_alpha(sdf, slope, edges.diff(dim=-1), sharpness, anneal)
    passing = torch.cumprod(1.0 - alphas + 1e-4, dim=-1)
    weights = alphas * torch.cat([torch.ones_like(passing[:, :1]), passing[:, :-1]], dim=-1)
    opacity = weights.sum(dim=-1)

    middles = (edges[:, :-1] + edges[:, 1:]) / 2.0
    distance = (weights * middles).sum(dim=-1) / (opacity + 1e-10)
    distance = distance.clamp(middles.min(), middles.max())
    normal = F.normalize((weights[..., None] * F.normalize(gradients, dim=-1)).sum(dim=1), dim=-1)
    features = grid.features_at(points) if with_features and grid.features is not None else None
    return NeusRendered(
        edges=edges,
        sdf=sdf,
        gradients=gradients,
        alphas=alphas,
        weights=weights,
        opacity=opacity,
        transmittance=passing[:, -1],
        sample_depths=middles / direction_norms[:, None],
        exit_depth=far[:, 0] / direction_norms,
        depth=distance / direction_norms,
        normal=normal,
        colour=_colour(features, weights, opacity, background),
        classes=_classes(features, weights),
    )


def _colour(features: Tensor | None, weights: Tensor, opacity: Tensor, background: Tensor | None) -> Tensor | None:
    if features is None:
        return None
    seen = (weights[..., None] * sample_colour(features[..., :COLOURS])).sum(dim=1)
    return seen if background is None else seen + background * (1.0 - opacity[:, None])


def _classes(features: Tensor | None, weights: Tensor) -> Tensor | None:
    """Probabilities are rendered, not logits: a near bin with large logits does not outvote the surface."""
    if features is None or features.shape[-1] == COLOURS:
        return None
    return (weights[..., None] * features[..., COLOURS:].softmax(dim=-1)).sum(dim=1)
