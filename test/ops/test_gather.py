# SPDX-License-Identifier: Apache-2.0
"""The fast weighted gather against its definition, values and gradients."""

from __future__ import annotations

import pytest
import torch

from selfocc_ros.ops.gather import NARROW, weighted_gather, weighted_gather_reference


@pytest.mark.parametrize("columns", [1, 2, NARROW, NARROW + 1, 30])
@pytest.mark.parametrize("corners", [4, 8])
def test_equal_to_the_reference(columns: int, corners: int) -> None:
    generator = torch.Generator().manual_seed(columns * 10 + corners)
    indices = torch.randint(0, 50, (301, corners), generator=generator)  # rows repeat, within a bag too
    weights = torch.rand(301, corners, generator=generator)
    table = torch.randn(50, columns, generator=generator)
    upstream = torch.randn(301, columns, generator=generator)
    results = []
    for function in (weighted_gather, weighted_gather_reference):
        leaf = table.clone().requires_grad_()
        out = function(leaf, indices, weights)
        out.backward(upstream)
        results.append((out.detach(), leaf.grad))
    for fast, plain in zip(*results, strict=True):
        assert torch.allclose(fast, plain, atol=1e-4)


def test_no_rows_at_all() -> None:
    empty = weighted_gather(torch.zeros(3, 5), torch.zeros(0, 4, dtype=torch.long), torch.zeros(0, 4))
    assert empty.shape == (0, 5)
