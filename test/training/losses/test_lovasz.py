# SPDX-License-Identifier: Apache-2.0
"""Lovász-softmax against its definition: the Jaccard loss at corners, its convex extension between them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from selfocc_training.losses.lovasz import lovasz_softmax

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(4, (2, 5, 6), generator=GENERATOR)


def test_of_hard_predictions_it_is_one_minus_iou() -> None:
    guess = torch.randint(4, LABELS.shape, generator=GENERATOR)
    loss = lovasz_softmax(F.one_hot(guess, 4).movedim(-1, 1).float(), LABELS)
    both = [((guess == c) & (c == LABELS)).sum() / ((guess == c) | (c == LABELS)).sum() for c in range(4)]
    assert torch.isclose(loss, 1 - torch.stack(both).mean(), atol=1e-6)


def test_gradients() -> None:
    logits = torch.randn(1, 3, 4, 2, generator=GENERATOR, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(3, (1, 4, 2), generator=GENERATOR)
    assert torch.autograd.gradcheck(lambda x: lovasz_softmax(x.softmax(dim=1), labels), (logits,))


def test_ignored_voxels_do_not_matter() -> None:
    logits = torch.randn(2, 4, 5, 6, generator=GENERATOR, requires_grad=True)
    labels = LABELS.clone()
    labels[:, 2:] = 255
    loss = lovasz_softmax(logits.softmax(dim=1), labels, ignore=255)
    torch.testing.assert_close(loss, lovasz_softmax(logits[:, :, :2].softmax(dim=1), LABELS[:, :2]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[:, :, 2:] == 0).all()


def test_absent_classes_count_only_in_all() -> None:
    probabilities = torch.tensor([[0.7], [0.1], [0.2]]).expand(1, 3, 4)
    labels = torch.zeros(1, 4, dtype=torch.uint8)
    assert lovasz_softmax(probabilities, labels).item() == pytest.approx(0.3)
    assert lovasz_softmax(probabilities, labels, classes="all").item() == pytest.approx((0.3 + 0.1 + 0.2) / 3)


def test_nothing_left_is_no_loss() -> None:
    probabilities = torch.full((1, 3, 4), 1 / 3, requires_grad=True)
    loss = lovasz_softmax(probabilities, torch.full((1, 4), 7), ignore=7)
    loss.backward()
    assert loss.item() == 0
    assert (probabilities.grad == 0).all()
    with pytest.raises(ValueError, match=r"labels must lie within 0\.\.2, found 7\.\.7"):
        lovasz_softmax(probabilities, torch.full((1, 4), 7))
