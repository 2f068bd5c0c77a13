# SPDX-License-Identifier: Apache-2.0
"""Class terms against torch's own, and under masks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from selfocc_training.losses.lookup import sample_labels
from selfocc_training.losses.ray_grid import ray_grid
from selfocc_training.losses.semantic import semantic_binary_cross_entropy, semantic_cross_entropy

GRID = ray_grid((24, 32), 6, 7, torch.tensor([0.7, 0.7, 0.5, 0.5]))
GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(5, (2, 24, 32), generator=GENERATOR, dtype=torch.uint8)
LOGITS = torch.randn(2, 42, 5, generator=GENERATOR)
TERMS = pytest.mark.parametrize("term", [semantic_cross_entropy, semantic_binary_cross_entropy])


def test_cross_entropy_is_that_of_torch_on_probabilities() -> None:
    classes = sample_labels(LABELS, GRID.pixels.expand(2, -1, -1))
    expected = F.cross_entropy(LOGITS.transpose(1, 2), classes)
    assert torch.isclose(semantic_cross_entropy(LOGITS.softmax(dim=-1), LABELS, GRID), expected)


def test_binary_cross_entropy_is_that_of_torch_on_logits() -> None:
    classes = sample_labels(LABELS, GRID.pixels.expand(2, -1, -1))
    expected = F.binary_cross_entropy_with_logits(LOGITS, F.one_hot(classes, 5).float())
    assert torch.isclose(semantic_binary_cross_entropy(LOGITS.sigmoid(), LABELS, GRID), expected)


@TERMS
def test_masked_labels_do_not_matter(term: Callable[..., Tensor]) -> None:
    use = torch.ones(2, 24, 32, dtype=torch.bool)
    use[0, 5:15] = use[1, :, 20:] = False
    probabilities = LOGITS.softmax(dim=-1).requires_grad_()
    loss = term(probabilities, LABELS, GRID, use=use)
    (gradient,) = torch.autograd.grad(loss, probabilities)
    again = term(probabilities, torch.where(use, LABELS, 255), GRID, use=use)
    assert torch.equal(again, loss)
    assert torch.equal(torch.autograd.grad(again, probabilities)[0], gradient)
    counts = sample_labels(use, GRID.pixels.expand(2, -1, -1)).bool()
    assert (gradient[~counts] == 0).all()
    assert (gradient[counts].abs().sum(dim=-1) > 0).all()


@TERMS
def test_empty_and_full_masks(term: Callable[..., Tensor]) -> None:
    full = torch.ones(2, 24, 32, dtype=torch.bool)
    probabilities = LOGITS.softmax(dim=-1).requires_grad_()
    assert torch.allclose(term(probabilities, LABELS, GRID, use=full), term(probabilities, LABELS, GRID), rtol=1e-6)
    nothing = term(probabilities, LABELS, GRID, use=~full)
    assert nothing == 0
    assert (torch.autograd.grad(nothing, probabilities)[0] == 0).all()


@TERMS
def test_what_is_not_a_number_comes_out_as_such_unless_it_is_masked(term: Callable[..., Tensor]) -> None:
    probabilities = LOGITS.softmax(dim=-1)
    probabilities[0, 3] = torch.nan
    probabilities.requires_grad_()
    assert term(probabilities, LABELS, GRID).isnan()
    use = torch.ones(2, 24, 32, dtype=torch.bool)
    use[0] = False
    loss = term(probabilities, LABELS, GRID, use=use)
    assert torch.isclose(loss, term(probabilities[1:], LABELS[1:], GRID))
    assert torch.autograd.grad(loss, probabilities)[0].isfinite().all()


def test_binary_cross_entropy_is_torch_s_at_and_beyond_the_ends_too() -> None:
    classes = sample_labels(LABELS, GRID.pixels.expand(2, -1, -1))
    some = LOGITS.clone().requires_grad_()  # below 0 and above 1, and some of each at the ends
    with torch.no_grad():
        some[0, ::5], some[1, ::5] = 0.0, 1.0
    expected = F.binary_cross_entropy(some.clamp(0, 1), F.one_hot(classes, 5).float())
    found = semantic_binary_cross_entropy(some, LABELS, GRID)
    assert torch.isclose(found, expected)
    assert torch.allclose(torch.autograd.grad(found, some)[0], torch.autograd.grad(expected, some)[0])
