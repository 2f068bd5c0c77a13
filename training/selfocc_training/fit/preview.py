# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a network has learnt so far: rendered colour and depth beside the image, and a bird's eye."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfocc_ros.geometry.voxels import FREE, OCCUPIED, UNKNOWN, OccupancyVolume
from selfocc_ros.model.families import Network
from selfocc_ros.model.renderer import Rendered, rendered_colour
from selfocc_ros.model.scene import Scene
from selfocc_ros.runtime.visibility import SAMPLES, SightLines
from selfocc_ros.viz.colours import depth_colours
from selfocc_ros.viz.sheet import occupancy_panel
from selfocc_training.steps import Step

Picture = NDArray[np.uint8]
COLUMNS = 160
"""Rays per row of a rendered picture, at most; it is scaled up to the image."""
CHUNK = 8192
"""Rays rendered at once."""


@torch.no_grad()
def preview(network: Network, step: Step) -> dict[str, Picture]:
    """Pictures (H, W, 3) uint8 RGB by name.

    ``views`` has a row for each view of the moment that the network sees: the true image, rendered colour, rendered
    depth (red is near). ``birds_eye`` shows occupied, free and unknown columns.
    """
    model: Any = network  # of either family: each takes the cache that it prepares
    scene: Scene = model.encode(step.images, model.prepare(step.rig))
    rows = [_row(network, scene, step, view) for view in range(len(step.current_cameras))]
    return {
        "views": np.vstack(rows),
        "birds_eye": occupancy_panel(_volume(network, scene, step), "occupancy"),
    }


def _row(network: Network, scene: Scene, step: Step, view: int) -> Picture:
    height, width = step.views.images.shape[-2:]
    used_width, used_height = (int(size) for size in step.views.rigs.sizes[view])
    stride = max(1, -(-used_width // COLUMNS))
    device = step.images.device
    v, u = torch.arange(0, used_height, stride, device=device), torch.arange(0, used_width, stride, device=device)
    vv, uu = torch.meshgrid(v, u, indexing="ij")
    pixels = torch.stack([uu, vv], dim=-1).reshape(1, -1, 2).to(step.images)
    rig = step.views.rigs.select(torch.tensor([view], device=device))
    origins, directions, cosines = rig.rays(pixels)
    colours, depths = [], []
    chunks = (torch.split(rays[0], CHUNK) for rays in (origins, directions, cosines))
    for o, d, cosine in zip(*chunks, strict=True):
        rendered: Rendered = network.render(scene, o, d)  # type: ignore[arg-type]
        colours.append(rendered_colour(scene, rendered, o, d))
        depths.append(rendered.median_distance() * cosine)
    shape = len(v), len(u)
    true = _bytes(step.views.images[view].permute(1, 2, 0))
    parts = [_bytes(torch.cat(colours).reshape(*shape, 3)), depth_colours(_array(torch.cat(depths).reshape(shape)))]
    row = np.zeros((height, 3 * width, 3), np.uint8)
    row[:, :width] = true
    for n, part in enumerate(parts, 1):
        large = cv2.resize(part, (used_width, used_height), interpolation=cv2.INTER_NEAREST)
        row[:used_height, n * width : n * width + used_width] = large
    return row


def _volume(network: Network, scene: Scene, step: Step) -> OccupancyVolume:
    """The scene's occupancy as the node would publish it."""
    model: Any = network
    size, grid = network.config.input, network.config.grid
    occupied = _array(model.decide(scene)) < 0
    sight = SightLines.of(step.rig, grid, (size.width, size.height))
    rendered: Rendered = model.render(scene, sight.origins, sight.directions, samples=SAMPLES)
    seen = sight.seen_voxels(rendered.median_distance())
    return OccupancyVolume(grid, np.where(occupied, OCCUPIED, np.where(seen, FREE, UNKNOWN)).astype(np.uint8))


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.float().cpu().numpy())


def _bytes(colours: Tensor) -> Picture:
    """Colours 0..1 as bytes."""
    return np.ascontiguousarray((_array(colours).clip(0, 1) * 255).round().astype(np.uint8))
