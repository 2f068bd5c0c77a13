# SPDX-License-Identifier: Apache-2.0
"""Voxel terms: what right and wrong answers cost, and that free and occupied are each other's complement."""

from __future__ import annotations

import math

import pytest
import torch

from selfocc_training.losses.lovasz import lovasz_softmax
from selfocc_training.losses.voxels import voxel_cross_entropy, voxel_lovasz, voxel_occupancy


def draw() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Occupancy logits (60,), class logits (60, 4) and labels (60,) of 0, 2, 3 and free, which is 4."""
    generator = torch.Generator().manual_seed(0)
    occupancy, classes = torch.randn(60, generator=generator), torch.randn(60, 4, generator=generator)
    return occupancy, classes, torch.tensor([0, 2, 3, 4, 4])[torch.randint(5, (60,), generator=generator)]


def joint(occupancy: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """(V, 5) probabilities of classes and free, from their definition."""
    o = torch.sigmoid(occupancy)[:, None]
    return torch.cat([o * classes.softmax(dim=1), 1 - o], dim=1)


def test_cross_entropy_is_that_of_the_joint_probabilities() -> None:
    occupancy, classes, labels = draw()
    expected = -joint(occupancy, classes).gather(1, labels[:, None]).log().mean()
    found = voxel_cross_entropy(occupancy, classes.log_softmax(dim=1)[labels < 4], labels)
    torch.testing.assert_close(found, expected)


def test_lovasz_is_that_of_the_joint_probabilities() -> None:
    occupancy, classes, labels = draw()
    expected = lovasz_softmax(joint(occupancy, classes).T[None], labels[None], classes="present")
    torch.testing.assert_close(voxel_lovasz(occupancy, classes.log_softmax(dim=1), labels), expected)


def test_right_answers_cost_nothing_and_wrong_ones_do() -> None:
    _, _, labels = draw()
    occupancy, classes = torch.where(labels < 4, 30.0, -30.0), torch.zeros(60, 4)
    classes[labels < 4] = 60 * torch.nn.functional.one_hot(labels[labels < 4], 4).float()
    log = classes.log_softmax(dim=1)
    assert voxel_occupancy(occupancy, labels < 4) < 1e-6
    assert voxel_cross_entropy(occupancy, log[labels < 4], labels) < 1e-6
    assert voxel_lovasz(occupancy, log, labels) < 1e-6
    assert voxel_occupancy(-occupancy, labels < 4) == pytest.approx(30.0, abs=1e-3)
    assert voxel_lovasz(-occupancy, log, labels) == pytest.approx(1.0, abs=1e-3)
    assert voxel_occupancy(torch.zeros(60), labels < 4) == pytest.approx(math.log(2))


def test_nothing_known_costs_nothing() -> None:
    none = torch.zeros(0, requires_grad=True)
    total = voxel_occupancy(none, torch.zeros(0, dtype=torch.bool))
    labels = torch.zeros(0, dtype=torch.long)
    total = total + voxel_cross_entropy(none, torch.zeros(0, 4), labels) + voxel_lovasz(none, torch.zeros(0, 4), labels)
    assert total == 0
    torch.autograd.backward(total)
