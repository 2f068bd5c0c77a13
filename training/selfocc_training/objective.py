# SPDX-License-Identifier: Apache-2.0
"""The training objective of one step, term by term."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfocc_ros.model.backbone import STRIDE
from selfocc_ros.model.lifting import bin_distances
from selfocc_ros.model.renderer import render, rendered_colour
from selfocc_ros.model.scene import Scene
from selfocc_ros.model.selfocc import SelfOcc
from selfocc_training.config import LossConfig
from selfocc_training.photometric import colour_error, reprojection_loss, sample_images
from selfocc_training.regularisers import edge_loss, eikonal_loss, hessian_loss
from selfocc_training.steps import Step

BEYOND = (1.5, 8.0, 60.0, 1000.0)
"""Metres beyond the box at which light that the box lets through may come from; the last two are absolute."""


def background_points(origins: Tensor, directions: Tensor, exits: Tensor) -> Tensor:
    """Proposals (R, 4, 3) outside the box: just behind it, a little farther, far, and at infinity for a camera."""
    far = [exits + BEYOND[0], exits + BEYOND[1], exits.clamp(min=BEYOND[2]), torch.full_like(exits, BEYOND[3])]
    distances = torch.stack(far, dim=-1)
    return origins[:, None] + directions[:, None] * distances[..., None]


def training_losses(model: SelfOcc, step: Step, config: LossConfig, bfloat16: bool) -> dict[str, Tensor]:
    """Unweighted terms of one step, by name as in ``LossConfig``."""
    with torch.no_grad():
        cache = model.prepare(step.rig)
    with torch.autocast("cpu" if not step.images.is_cuda else "cuda", torch.bfloat16, enabled=bfloat16):
        scene = model.encode(step.images, cache)
    views, grid = step.views, step.grid
    count, rays = len(views.rigs), grid.pixels.shape[0]
    pixels = grid.pixels.expand(count, -1, -1)
    origins, directions, _ = views.rigs.rays(pixels)
    origins, directions = origins.reshape(-1, 3), directions.reshape(-1, 3)
    rendered = render(scene, origins, directions, model.config.renderer, step.jitter)
    points = origins[:, None] + directions[:, None] * rendered.distances[..., None]
    background = None
    if step.number >= config.background_from:
        beyond = background_points(origins, directions, rendered.exits)
        background = rendered.left.reshape(count, rays), beyond.reshape(count, rays, -1, 3)
    terms = {
        "reprojection": reprojection_loss(
            views,
            grid,
            rendered.weights.reshape(count, rays, -1),
            points.reshape(count, rays, -1, 3),
            background,
            config.auto_mask,
        ),
        "eikonal": eikonal_loss(scene.nodes, scene.spacing),
        "hessian": hessian_loss(scene.nodes, scene.spacing),
    }
    if background is not None:
        terms["opacity"] = rendered.weights.sum(dim=-1).mean()
    target = sample_images(views.images, pixels)
    if config.distances:
        terms["distances"], inverse = distance_loss(model, scene, step, config)
        if config.edge:
            terms["edge"] = edge_loss(inverse, target[: inverse.shape[0]], grid)
    if config.edge:
        inverse = (rendered.weights / rendered.distances).sum(dim=-1).reshape(count, rays)
        terms["edge"] = terms.get("edge", 0.0) + edge_loss(inverse, target, grid)
    if config.rgb:
        colour = rendered_colour(scene, rendered, origins, directions).reshape(count, rays, 3)
        # What lies beyond the box is not this term's business; detached, so that fading away does not pay.
        opacity = rendered.weights.sum(dim=-1).detach().reshape(count, rays, 1)
        terms["rgb"] = colour_error(colour * opacity + target * (1 - opacity), target, grid).mean()
    return terms


def distance_loss(model: SelfOcc, scene: Scene, step: Step, config: LossConfig) -> tuple[Tensor, Tensor]:
    """Reprojection loss on the distance distributions that single images give for the current views.

    Returns:
        the loss, and the expected inverse distance (V, R) of the current views.
    """
    count = len(step.current_cameras)
    views = step.views.first(count)
    log_distances = scene.log_distances[step.current_cameras]
    height, width = log_distances.shape[-2:]
    at = (step.grid.pixels + 0.5) / torch.tensor([width * STRIDE, height * STRIDE]) * 2 - 1
    sampled = F.grid_sample(log_distances, at.expand(count, 1, -1, -1), align_corners=False, padding_mode="border")
    weights = torch.softmax(sampled[:, :, 0].transpose(1, 2), dim=-1)
    origins, directions, _ = views.rigs.rays(step.grid.pixels.expand(count, -1, -1))
    distances = bin_distances(model.config.lifting, step.images.device)
    points = origins.unsqueeze(2) + directions.unsqueeze(2) * distances[:, None]
    loss = reprojection_loss(views, step.grid, weights, points, None, config.auto_mask)
    return loss, (weights / distances).sum(dim=-1)


def total_loss(terms: dict[str, Tensor], config: LossConfig) -> Tensor:
    """Weighted sum of the terms."""
    return torch.stack([getattr(config, name) * value for name, value in terms.items()]).sum()
