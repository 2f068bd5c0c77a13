# SPDX-License-Identifier: Apache-2.0
"""The training objective of one step, term by term, for networks of every family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from selfocc_ros.configuration import ConfigError
from selfocc_ros.model.backbone import STRIDE
from selfocc_ros.model.config import ModelConfig
from selfocc_ros.model.families import AnyConfig, Network
from selfocc_ros.model.lifting import bin_distances
from selfocc_ros.model.planes.config import PlaneConfig
from selfocc_ros.model.planes.field_grid import central_differences, lattice
from selfocc_ros.model.planes.scene import PlaneScene
from selfocc_ros.model.renderer import Rendered, rendered_colour
from selfocc_ros.model.scene import Scene, trilinear
from selfocc_training.config import LossConfig
from selfocc_training.losses.colour import colour_loss
from selfocc_training.losses.field_terms import Stencil, cell_eikonal_loss, eikonal_loss, hessian_loss
from selfocc_training.losses.lookup import sample_colours
from selfocc_training.losses.masks import combine_masks
from selfocc_training.losses.mvs import Variant, mvs_loss
from selfocc_training.losses.pairs import CENTRES, pairs_loss
from selfocc_training.losses.ray_grid import RayGrid
from selfocc_training.losses.semantic import semantic_binary_cross_entropy, semantic_cross_entropy
from selfocc_training.losses.smoothness import edge_loss
from selfocc_training.losses.sparsity import adaptive_sparsity, hard_sparsity, soft_sparsity, streetsurf_sparsity
from selfocc_training.steps import Step
from selfocc_training.views import UNLABELLED, Views
from selfocc_training.voxel_terms import check_voxels, voxel_loss

BEYOND = (1.5, 8.0, 60.0, 1000.0)
"""Metres beyond the box at which light that the box lets through may come from; the last two are absolute."""

LATTICE_M = 0.4
"""Spacing of the points at which occupied space is priced, as in SelfOcc."""

FREE_MARGINS = ((1, 0), (1, 1), (0, 1))
"""Slabs at both ends of x, y and z that SelfOcc's hard price leaves out."""


@dataclass(frozen=True)
class RayWeights:
    """Where the light of every ray of V views comes from: R rays each, S samples along each.

    Attributes:
        origins, directions: (V, R, 3) metres and unit vectors in the scene's frame.
        cosines: (V, R) distance along the ray times this is z-depth.
        distances: (V, R, S) metres along the ray.
        read_at: (V, R, S) metres along the ray at which colour and classes are read.
        weights: (V, R, S) share of the light.
    """

    views: Views
    grid: RayGrid
    origins: Tensor
    directions: Tensor
    cosines: Tensor
    distances: Tensor
    read_at: Tensor
    weights: Tensor

    def points(self, distances: Tensor) -> Tensor:
        """(V, R, S, 3) places in the scene's frame at (V, R, S) metres along the rays."""
        return self.origins.unsqueeze(2) + self.directions.unsqueeze(2) * distances.unsqueeze(-1)

    @property
    def depths(self) -> Tensor:
        """(V, R, S) z-depths of the samples."""
        return self.distances * self.cosines.unsqueeze(-1)

    def expected_depth(self) -> Tensor:
        """(V, R) mean z-depth of where the light comes from."""
        return (self.weights * self.depths).sum(dim=-1) / self.weights.sum(dim=-1).clamp(min=1e-4)


def training_losses(model: Network, step: Step, config: LossConfig, bfloat16: bool) -> dict[str, Tensor]:
    """Unweighted terms of one step, by name as in ``LossConfig``.

    Raises:
        ConfigError: a term needs what the network or the data does not have.
    """
    check_terms(config, model.config, step)
    network: Any = model  # of either family: each takes the cache that it prepares
    with torch.no_grad():
        cache = network.prepare(step.rig)
    with torch.autocast("cpu" if not step.images.is_cuda else "cuda", torch.bfloat16, enabled=bfloat16):
        scene: Scene = network.encode(step.images, cache)
    terms = _rendered_terms(network, scene, step, config) if config.render else {}
    if config.eikonal and config.eikonal_at == "cells":
        terms["eikonal"] = cell_eikonal_loss(scene.nodes, scene.spacing)
    if config.hessian:
        terms["hessian"] = hessian_loss(scene.nodes, scene.spacing, cast("Stencil", config.hessian_stencil))
    if config.voxels:
        terms["voxels"] = voxel_loss(model, scene, step)
    return terms


def _rendered_terms(network: Any, scene: Scene, step: Step, config: LossConfig) -> dict[str, Tensor]:
    """Terms that look along the step's rays."""
    generator = torch.Generator(step.images.device).manual_seed(step.seed)
    views, grid = step.views, step.grid
    origins, directions, cosines = views.rigs.rays(grid.pixels.expand(len(views.rigs), -1, -1))
    flat = origins.reshape(-1, 3), directions.reshape(-1, 3)
    rendered: Rendered = network.render(scene, *flat, step.jitter, step=step.number)
    by_view = (*cosines.shape, -1)
    shown = RayWeights(
        views,
        grid,
        origins,
        directions,
        cosines,
        rendered.distances.reshape(by_view),
        rendered.read_at.reshape(by_view),
        rendered.weights.reshape(by_view),
    )
    background = None
    if config.background_from is not None and step.number >= config.background_from:
        beyond = background_points(*flat, rendered.exits)
        background = rendered.left.reshape_as(cosines), beyond.reshape(*by_view, 3)
    terms = {"reprojection": _reprojection(shown, background, config)}
    if config.eikonal and config.eikonal_at == "samples":
        terms["eikonal"] = _eikonal(scene, shown)
    if background is not None:
        terms["opacity"] = rendered.weights.sum(dim=-1).mean()
    guessed = _guessed(network.config, scene, step) if config.distances else None
    if guessed is not None:
        terms["distances"] = _reprojection(guessed, None, config)
    if config.edge:
        parts = [_edge(one, config) for one in (guessed, shown) if one is not None]
        terms["edge"] = torch.stack(parts).sum()
    if config.rgb:
        colours = rendered_colour(scene, rendered, *flat).reshape(*cosines.shape, 3)
        terms["rgb"] = _rgb(colours, shown, config, generator)
    if config.sparsity:
        terms["sparsity"] = _sparsity(scene, shown, config, generator)
    if config.semantic:
        terms["semantic"] = _semantic(scene, shown, config)
    return terms


def total_loss(terms: dict[str, Tensor], config: LossConfig) -> Tensor:
    """Weighted sum of the terms."""
    return torch.stack([getattr(config, name) * value for name, value in terms.items()]).sum()


def check_terms(config: LossConfig, model: AnyConfig, step: Step) -> None:
    """Refuse terms that need what is not there.

    Raises:
        ConfigError: colour of a network without, or classes of a network or of data without, or voxels likewise.
    """
    if config.voxels:
        check_voxels(config.voxels, model, step)
    if not config.render:
        return
    if config.rgb and isinstance(model, PlaneConfig) and not model.head.colour:
        raise ConfigError(f"loss.rgb is {config.rgb}, but network {model.name} has no colour (head.colour is false).")
    if not config.semantic:
        return
    views, classes = step.views, len(model.head.classes)
    if not classes:
        raise ConfigError(f"loss.semantic is {config.semantic}, but network {model.name} has no classes.")
    if views.labels is None:
        raise ConfigError(f"loss.semantic is {config.semantic}, but the images have no class maps.")
    known = views.labels[views.labels != UNLABELLED]
    if len(known) and int(known.max()) >= classes:
        raise ConfigError(
            f"loss.semantic: class maps must hold 0 to {classes - 1}, the class channels of network {model.name}, "
            f"or {UNLABELLED} for unknown, found {int(known.max())}."
        )


def background_points(origins: Tensor, directions: Tensor, exits: Tensor) -> Tensor:
    """Proposals (R, 4, 3) outside the box: just behind it, a little farther, far, and at infinity for a camera."""
    far = [exits + BEYOND[0], exits + BEYOND[1], exits.clamp(min=BEYOND[2]), torch.full_like(exits, BEYOND[3])]
    distances = torch.stack(far, dim=-1)
    return origins[:, None] + directions[:, None] * distances[..., None]


def _guessed(config: AnyConfig, scene: Scene, step: Step) -> RayWeights | None:
    """What single images say of the distances of the current views' rays; None of networks that say nothing."""
    if not isinstance(config, ModelConfig) or not len(scene.log_distances):
        return None
    count, grid = len(step.current_cameras), step.grid
    views = step.views.first(count)
    log_distances = scene.log_distances[step.current_cameras]
    height, width = log_distances.shape[-2:]
    size = torch.tensor([width * STRIDE, height * STRIDE], device=grid.pixels.device)
    at = (grid.pixels + 0.5) / size * 2 - 1
    sampled = F.grid_sample(log_distances, at.expand(count, 1, -1, -1), align_corners=False, padding_mode="border")
    weights = torch.softmax(sampled[:, :, 0].transpose(1, 2), dim=-1)
    origins, directions, cosines = views.rigs.rays(grid.pixels.expand(count, -1, -1))
    distances = bin_distances(config.lifting, step.images.device).expand_as(weights)
    return RayWeights(views, grid, origins, directions, cosines, distances, distances, weights)


def _reprojection(seen: RayWeights, background: tuple[Tensor, Tensor] | None, config: LossConfig) -> Tensor:
    views = seen.views
    if config.reprojection_kind == "pairs":
        return pairs_loss(views, seen.grid, seen.weights, seen.points(seen.distances), background, config.auto_mask)
    return mvs_loss(
        views.images,
        views.sources,
        views.source_pixel_from_pixel(),
        seen.grid,
        seen.depths,
        seen.weights,
        variant=cast("Variant", config.reprojection_kind),
        auto_mask=config.auto_mask,
        convention=CENTRES,
        use=views.use,
        source_use=combine_masks(views.source_use, views.source_area()),
    ).loss


def _eikonal(scene: Scene, shown: RayWeights) -> Tensor:
    if isinstance(scene, PlaneScene):
        gradient = scene.grid.gradient
    else:
        gradient = central_differences(scene.nodes, scene.spacing)
    samples = trilinear(gradient, shown.points(shown.read_at), scene.lower, scene.upper)
    return eikonal_loss(torch.cat([samples.reshape(-1, 3), gradient.flatten(1).T]))


def _edge(seen: RayWeights, config: LossConfig) -> Tensor:
    if config.edge_of == "depth":
        values = seen.expected_depth()
    else:
        values = (seen.weights / seen.distances).sum(dim=-1)
    return edge_loss(values, seen.views.images, seen.grid, convention=CENTRES, use=seen.views.use)


def _rgb(colours: Tensor, shown: RayWeights, config: LossConfig, generator: torch.Generator) -> Tensor:
    """Error of rendered colours (V, R, 3), which are those of what was hit."""
    views, grid = shown.views, shown.grid
    opacity = shown.weights.sum(dim=-1, keepdim=True)
    if config.rgb_behind == "noise":
        behind = torch.rand(colours.shape, generator=generator, device=colours.device)
    else:
        # What lies beyond the box is not this term's business; detached, so that fading away does not pay.
        opacity = opacity.detach()
        pixels = grid.pixels.expand(len(views.rigs), -1, -1)
        behind = sample_colours(views.images, pixels, CENTRES, views.use)
    seen = colours * opacity + behind * (1 - opacity)
    return colour_loss(seen, views.images, grid, convention=CENTRES, use=views.use)


def _sparsity(scene: Scene, shown: RayWeights, config: LossConfig, generator: torch.Generator) -> Tensor:
    if config.sparsity_kind == "adaptive":
        return adaptive_sparsity(scene.sdf(shown.points(shown.distances)), shown.depths, shown.expected_depth())
    points = lattice(scene.lower.tolist(), scene.upper.tolist(), LATTICE_M).to(scene.lower)
    jitter = torch.rand(points.shape, generator=generator, device=points.device)
    distances = scene.sdf(points + LATTICE_M * jitter)
    if config.sparsity_kind == "hard":
        return hard_sparsity(distances, FREE_MARGINS)
    return soft_sparsity(distances) if config.sparsity_kind == "soft" else streetsurf_sparsity(distances)


def _semantic(scene: Scene, shown: RayWeights, config: LossConfig) -> Tensor:
    """Cross entropy of rendered class probabilities; probabilities are rendered, not logits, as in SelfOcc."""
    views = shown.views
    if views.labels is None:
        raise TypeError("classes are asked of views without them; check_terms comes first")
    classes = scene.class_logits(shown.points(shown.read_at)).softmax(dim=-1)
    probabilities = (shown.weights.unsqueeze(-1) * classes).sum(dim=2)
    if config.rgb_behind == "image":
        # As with colour, of what was hit: a ray teaches as much as it stops light, and fading away does not pay.
        opacity = shown.weights.sum(dim=-1, keepdim=True).clamp(min=1e-4)
        probabilities = probabilities / opacity
        probabilities = torch.lerp(probabilities.detach(), probabilities, opacity.detach())
    loss = semantic_cross_entropy if config.semantic_kind == "ce" else semantic_binary_cross_entropy
    use = combine_masks(views.use, views.labels != UNLABELLED)
    return loss(probabilities, views.labels, shown.grid, convention=CENTRES, use=use)
