# SPDX-License-Identifier: Apache-2.0
"""Derivatives and field terms on fields whose derivatives are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from selfocc_ros.model.planes.field_grid import central_differences
from selfocc_training.losses.field_terms import Stencil, cell_eikonal_loss, eikonal_loss, field_hessian, hessian_loss

SPACING = torch.tensor([0.5, 0.4, 0.2], dtype=torch.float64)
INNER = (..., slice(2, -2), slice(2, -2), slice(2, -2))


def coordinates() -> list[Tensor]:
    axes = [torch.arange(n, dtype=torch.float64) * d for n, d in zip((9, 8, 7), SPACING, strict=True)]
    return list(torch.meshgrid(*axes, indexing="ij"))


def test_gradient_of_a_plane_is_its_normal_and_half_of_it_at_the_border() -> None:
    x, _, z = coordinates()
    gradient = central_differences(0.6 * x + 0.8 * z, SPACING)
    normal = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    assert torch.allclose(gradient[INNER].movedim(0, -1), normal)
    assert torch.allclose(gradient[0, 0], torch.tensor(0.3, dtype=torch.float64))
    assert eikonal_loss(gradient[INNER].movedim(0, -1)) < 1e-12


@pytest.mark.parametrize("compact", [False, True])
def test_hessian_of_a_quadric(compact: bool) -> None:
    x, y, z = coordinates()
    hessian = field_hessian(1.5 * x * x - y * y + 0.7 * x * y + 0.4 * y * z, SPACING, compact)[INNER]
    expected = torch.tensor([[3.0, 0.7, 0.0], [0.7, -2.0, 0.4], [0.0, 0.4, 0.0]], dtype=torch.float64)
    assert torch.allclose(hessian.movedim((0, 1), (-2, -1)), expected, atol=1e-9)


def test_only_the_compact_stencil_sees_a_field_that_alternates() -> None:
    nodes = torch.ones(8, 8, 8)
    nodes[::2] = -1.0
    spacing = torch.ones(3)
    assert field_hessian(nodes, spacing)[INNER].abs().max() == 0
    assert field_hessian(nodes, spacing, compact=True)[INNER][0, 0].abs().min() == 4.0


@pytest.mark.parametrize("stencil", ["diagonal", "wide", "compact"])
def test_hessian_loss_has_the_right_gradient(stencil: Stencil) -> None:
    nodes = torch.rand(4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda field: hessian_loss(field, SPACING, stencil), nodes, fast_mode=True)
    assert hessian_loss(torch.full((4, 4, 4), 2.0), torch.ones(3), stencil) == 0


def test_diagonal_hessian_of_a_parabola_is_exact_up_to_the_border() -> None:
    x, _, _ = coordinates()
    found = hessian_loss(1.5 * x * x, SPACING, "diagonal")
    assert found.item() == pytest.approx(1.0)  # 3 / m along one of 3 axes


def test_a_plane_is_a_distance_in_every_cell() -> None:
    x, y, z = coordinates()
    assert cell_eikonal_loss(0.6 * x + 0.8 * z - 1.0, SPACING) < 1e-8
    assert cell_eikonal_loss(3.0 * y, SPACING).item() == pytest.approx(4.0, abs=1e-4)
    flat = torch.zeros(4, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(cell_eikonal_loss(flat, torch.ones(3)), flat)
    assert torch.isfinite(gradient).all()


def test_eikonal_of_a_stretched_field_and_of_a_flat_one() -> None:
    assert eikonal_loss(torch.tensor([[0.0, 3.0, 0.0], [0.0, 0.0, -1.0]])) == 2.0
    flat = torch.zeros(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(eikonal_loss(flat), flat)
    assert torch.isfinite(gradient).all()
