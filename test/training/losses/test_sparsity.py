# SPDX-License-Identifier: Apache-2.0
"""Prices on matter: what costs, what does not, and which way the gradient points."""

from __future__ import annotations

import math

import pytest
import torch

from selfocc_training.losses.sparsity import adaptive_sparsity, hard_sparsity, soft_sparsity, streetsurf_sparsity


def test_soft_costs_the_depth_below_the_surface() -> None:
    distances = torch.tensor([-2.0, -1.0, 0.5, 4.0], requires_grad=True)
    loss = soft_sparsity(distances)
    assert loss == 0.75
    assert torch.autograd.grad(loss, distances)[0].tolist() == [-0.25, -0.25, 0.0, 0.0]


def test_streetsurf_costs_closeness_to_the_surface_from_either_side() -> None:
    assert streetsurf_sparsity(torch.tensor([0.0])) == 1.0
    assert streetsurf_sparsity(torch.tensor([0.3])).item() == pytest.approx(math.cosh(1.5) ** -2, rel=1e-5)
    far = torch.tensor([-80.0, 80.0], requires_grad=True)
    assert (torch.autograd.grad(streetsurf_sparsity(far), far)[0] == 0).all()


def test_hard_allows_a_share_of_matter_and_any_at_its_margins() -> None:
    distances = torch.full((4, 4), 5.0)
    distances[:2] = -5.0
    assert hard_sparsity(distances, ((0, 0), (0, 0))).item() == pytest.approx(0.3)
    assert hard_sparsity(distances, ((1, 0), (0, 0))).item() == pytest.approx(0.05)
    assert hard_sparsity(distances, ((0, 0), (0, 0)), threshold=0.6) == 0
    free = hard_sparsity(torch.where(distances < 0, 100.0, distances), ((0, 0), (0, 0)), threshold=-1.0)
    assert hard_sparsity(distances, ((2, 0), (0, 0)), threshold=-1.0) == free


def test_adaptive_costs_only_behind_what_is_seen() -> None:
    distances = torch.tensor([[[1.0, -1.0, -2.0, -4.0]]], requires_grad=True)
    depths, rendered = torch.tensor([[[2.0, 5.0, 10.0, 12.0]]]), torch.tensor([[5.0]])
    loss = adaptive_sparsity(distances, depths, rendered, slack=4.0)
    assert loss == 3.0
    assert torch.autograd.grad(loss, distances)[0].tolist() == [[[0.0, 0.0, -0.5, -0.5]]]
    assert adaptive_sparsity(distances, depths, rendered, slack=40.0) == 0
