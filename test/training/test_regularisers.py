# SPDX-License-Identifier: Apache-2.0
"""Terms on the field, on fields whose derivatives are known."""

from __future__ import annotations

import torch

from selfocc_training.photometric import RayGrid
from selfocc_training.regularisers import edge_loss, eikonal_loss, hessian_loss

SPACING = torch.tensor([0.5, 0.4, 0.2])


def coordinates() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x, y, z = torch.meshgrid(*(torch.arange(n) * d for n, d in zip((9, 8, 7), SPACING, strict=True)), indexing="ij")
    return x, y, z


def test_a_plane_is_a_distance() -> None:
    x, y, z = coordinates()
    plane = 0.6 * x + 0.8 * z - 1.0
    assert eikonal_loss(plane, SPACING) < 1e-8
    assert hessian_loss(plane, SPACING) < 1e-4
    assert torch.isclose(eikonal_loss(3.0 * y, SPACING), torch.tensor(4.0), atol=1e-4)


def test_second_difference_of_a_parabola_is_exact() -> None:
    x, _, _ = coordinates()
    assert torch.isclose(hessian_loss(1.5 * x * x, SPACING), torch.tensor(1.0), atol=1e-3)  # 3 / m along one of 3 axes


def test_flat_field_has_a_finite_gradient() -> None:
    field = torch.zeros(4, 4, 4, requires_grad=True)
    eikonal_loss(field, SPACING).backward()
    assert field.grad is not None
    assert torch.isfinite(field.grad).all()


def test_a_step_costs_less_where_the_picture_has_an_edge() -> None:
    grid = RayGrid(torch.zeros(48, 2), 6, 8)
    depth = torch.ones(1, 6, 8)
    depth[..., 4:] = 3.0
    edge, elsewhere = torch.zeros(1, 6, 8, 3), torch.zeros(1, 6, 8, 3)
    edge[..., 4:, :], elsewhere[..., 6:, :] = 1.0, 1.0
    losses = [edge_loss(depth.reshape(1, 48), picture.reshape(1, 48, 3), grid) for picture in (edge, elsewhere)]
    # One step of 2 / mean 2 in 7 gaps of each row; the edge of contrast 1 takes it down by e.
    assert torch.isclose(losses[1], torch.tensor(1.0 / 7.0), atol=1e-5)
    assert torch.isclose(losses[0], torch.exp(torch.tensor(-1.0)) / 7.0, atol=1e-5)
    assert edge_loss(torch.full((1, 48), 7.0), edge.reshape(1, 48, 3), grid) == 0.0
