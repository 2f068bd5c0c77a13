# SPDX-License-Identifier: Apache-2.0
"""The term that labels of voxels add to the objective: no ray is rendered for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from selfocc_ros.configuration import ConfigError
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.model.families import AnyConfig, Network, class_labels
from selfocc_ros.model.scene import OCCUPANCY_LENGTH_M, Scene, trilinear
from selfocc_training.losses.voxels import voxel_cross_entropy, voxel_lovasz, voxel_occupancy
from selfocc_training.steps import Step
from selfocc_training.views import UNLABELLED

LOVASZ_VOXELS = 2**16
"""Voxels drawn for the Lovász term, which sorts them once for every class; cross entropy is of all."""


def check_voxels(weight: float, model: AnyConfig, step: Step) -> None:
    """Refuse labels of voxels that are not there, or that the network has no name for.

    Raises:
        ConfigError: with one sentence.
    """
    if step.voxels is None or step.voxel_grid is None:
        raise ConfigError(f"loss.voxels is {weight}, but the clips have no labels of voxels.")
    if not (told := class_labels(model)):
        return
    counts = torch.bincount(step.voxels.flatten().int(), minlength=256).tolist()
    found = {label for label, count in enumerate(counts) if count} - {UNLABELLED, step.voxel_free}
    channels = set(range(len(told)))
    if step.voxel_free in channels or not found <= channels:
        raise ConfigError(
            f"loss.voxels: network {model.name} has the class channels {_spans(channels)}, but the voxels hold "
            f"{_spans(found)}, and {step.voxel_free} where they are free."
        )


def voxel_loss(network: Network, scene: Scene, step: Step) -> Tensor:
    """Loss of the known voxels of a step that lie in one of its images: what cameras are left out show is not asked.

    Of a network without classes the binary cross entropy of being occupied. With classes cross entropy and
    Lovász-softmax over classes and free.
    """
    if step.voxels is None or step.voxel_grid is None:
        raise TypeError("labels of voxels are asked of a step without them; check_voxels comes first")
    occupancy, kept = _occupancy(network, scene, step.voxel_grid)
    kept &= step.voxels != UNLABELLED
    centres = torch.as_tensor(step.voxel_grid.centres()).to(occupancy)
    kept[kept.clone()] = step.rig.project(centres[kept])[2].any(dim=0)
    labels, occupancy = step.voxels[kept].long(), occupancy[kept]
    told = class_labels(network.config)
    if not told:
        return voxel_occupancy(occupancy, labels != step.voxel_free)
    names = sorted(set(told))
    # Channels that bear one label are one class; all that is no channel is free.
    rank = [names.index(label) for label in told] + [len(names)] * (256 - len(told))
    labels = torch.tensor(rank, device=labels.device)[labels]
    centres = centres[kept]
    generator = torch.Generator(labels.device).manual_seed(step.seed)
    drawn = torch.randperm(len(labels), generator=generator, device=labels.device)[:LOVASZ_VOXELS]
    solid = labels < len(names)
    cross_entropy = voxel_cross_entropy(occupancy, _log_classes(scene, centres[solid], told), labels)
    return cross_entropy + voxel_lovasz(occupancy[drawn], _log_classes(scene, centres[drawn], told), labels[drawn])


def _occupancy(network: Any, scene: Scene, grid: VoxelGrid) -> tuple[Tensor, Tensor]:
    """Logits (X, Y, Z) at the voxels of ``grid``, and whether they lie in the network's own grid.

    They are those of the network's decision, so that it is trained as it is used.
    """
    logits: Tensor = -network.decide(scene) / OCCUPANCY_LENGTH_M
    own: VoxelGrid = network.config.grid
    if own == grid:
        return logits, torch.ones(grid.shape, dtype=torch.bool, device=logits.device)
    points = torch.as_tensor(grid.centres()).to(logits)
    lower, upper = points.new_tensor(own.lower), points.new_tensor(own.upper)
    half = points.new_tensor(own.cell) / 2
    inside = ((points > lower) & (points < upper)).all(dim=-1)
    return trilinear(logits[None], points, lower + half, upper - half)[..., 0], inside


def _log_classes(scene: Scene, points: Tensor, labels: tuple[int, ...]) -> Tensor:
    """Logarithms of the class probabilities (V, C) at points (V, 3), in the order of labels; channels ``labels``."""
    channels = scene.class_logits(points).log_softmax(dim=-1)
    names = sorted(set(labels))
    if names == list(labels):
        return channels
    columns = [[channel for channel, label in enumerate(labels) if label == name] for name in names]
    return torch.stack([channels[:, one].logsumexp(dim=-1) for one in columns], dim=-1)


def _spans(labels: set[int]) -> str:
    """Labels in words: ``0 to 4, 7``."""
    parts: list[list[int]] = []
    for label in sorted(labels):
        if parts and parts[-1][-1] == label - 1:
            parts[-1].append(label)
        else:
            parts.append([label])
    return ", ".join(f"{p[0]} to {p[-1]}" if len(p) > 1 else str(p[0]) for p in parts) or "none"
