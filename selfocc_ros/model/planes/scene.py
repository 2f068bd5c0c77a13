# SPDX-License-Identifier: Apache-2.0
"""What a network of the plane families says of one moment, in the ground frame."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from selfocc_ros.model.planes.config import BoxConfig
from selfocc_ros.model.planes.field_grid import FieldGrid
from selfocc_ros.model.planes.neus import COLOURS, render_neus, sample_colour
from selfocc_ros.model.renderer import Rendered
from selfocc_ros.model.scene import Scene, occupancy_logits


@dataclass(frozen=True)
class PlaneScene(Scene):
    """A scene whose nodes carry features and the gradient besides the distance.

    ``colours`` holds the coefficients that ``colour`` turns into colours; of a network without colour they are zero,
    which is grey. ``log_distances`` holds no camera: these networks do not predict distances per pixel.

    Attributes:
        grid: the same fields as the renderer of these families takes them (``render_neus``), in the ground frame.
    """

    grid: FieldGrid

    @classmethod
    def of(cls, grid: FieldGrid, sharpness: Tensor, with_occupancy: bool = False) -> PlaneScene:
        """Scene of a grid in the ground frame; ``with_occupancy``: its last feature is the rest of occupancy logits."""
        colours, logits, occupancy = grid.sdf.new_zeros(COLOURS, 2, 2, 2), None, None
        features = grid.features
        if features is not None:
            if with_occupancy:
                occupancy, features = occupancy_logits(features[-1], grid.sdf), features[:-1]
                grid = dataclasses.replace(grid, features=features)
            colours = features[:COLOURS]
            logits = features[COLOURS:] if len(features) > COLOURS else None
        none = grid.sdf.new_zeros(0, 0, 0, 0)
        sharpness = sharpness.reshape(())
        box = grid.lower, grid.upper
        return cls(grid.sdf, colours, *box, sharpness, none, grid, logits=logits, occupancy=occupancy)

    def colour(self, points: Tensor) -> Tensor:
        """Colour 0..1 at points (..., 3): (..., 3)."""
        return sample_colour(super().colour(points)).clamp(max=1.0)

    def gradient(self, points: Tensor) -> Tensor:
        """Gradient of the signed distance at points (..., 3), interpolated between those at the nodes."""
        return self.grid.gradient_at(points)


def render_published(
    scene: PlaneScene, origins: Tensor, directions: Tensor, samples: int, anneal: float, jitter: Tensor | None
) -> Rendered:
    """Rays (R, 3) as SelfOcc renders them, see ``render_neus``; R rays of S sections.

    Sections are told by their middles; colour and classes are read at their near edges, where the distance is.
    """
    norms = torch.ones_like(origins[:, 0])
    found = render_neus(
        scene.grid, origins, directions, norms, scene.sharpness, samples, anneal, jitter, with_features=False
    )
    return Rendered(
        weights=found.weights,
        distances=found.sample_depths,
        left=found.transmittance,
        exits=found.exit_depth,
        read_at=found.edges[:, :-1],
    )


def ground_from_box(config: BoxConfig) -> Tensor:
    """(4, 4) float64, the frame of the network's box to the ground frame (x forward, y left, z up)."""
    pose = torch.eye(4, dtype=torch.float64)
    if config.axes == "right_forward_up":
        pose[:2, :2] = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    pose[:3, 3] = torch.tensor(config.origin)
    return pose


def to_ground(grid: FieldGrid, config: BoxConfig) -> FieldGrid:
    """A grid in the frame of its box, turned and moved to the ground frame: the same values at other indices."""
    if config.axes == "forward_left_up":
        turn = torch.arange(3)
        sdf, features, gradient = grid.sdf, grid.features, grid.gradient
    else:
        # Ahead of the vehicle is along the box's y, to the left is against its x.
        turn = torch.tensor([1, 0, 2])
        sdf = _quarter_turn(grid.sdf)
        features = None if grid.features is None else _quarter_turn(grid.features)
        right, forward, up = _quarter_turn(grid.gradient)
        gradient = torch.stack([forward, -right, up])
    corners = torch.stack([grid.lower, grid.upper])[:, turn.to(grid.lower.device)]
    if config.axes == "right_forward_up":
        corners = torch.stack([corners[:, 0], -corners[:, 1].flip(0), corners[:, 2]], dim=1)
    lower, upper = corners + torch.tensor(config.origin).to(corners)
    return FieldGrid(sdf, features, gradient, lower, upper)


def _quarter_turn(volume: Tensor) -> Tensor:
    """(..., X, Y, Z) over right, forward, up to (..., Y, X, Z) over forward, left, up."""
    return volume.transpose(-3, -2).flip(-2)
