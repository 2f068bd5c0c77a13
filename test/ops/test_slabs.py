# SPDX-License-Identifier: Apache-2.0
"""Slabs on several threads: the caller's modes hold, errors come through, the number of threads is as before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from selfocc_ros.ops.slabs import for_each_slab

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 3], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(before)


def test_each_slab_is_worked_once_in_the_callers_mode(threads: int) -> None:
    inference = torch.zeros(7, dtype=torch.int64)
    alone = torch.zeros(7, dtype=torch.bool)

    def work(slab: int) -> None:
        inference[slab] += 1 + torch.is_inference_mode_enabled() + 10 * torch.is_grad_enabled()
        alone[slab] = torch.get_num_threads() == 1

    for_each_slab(work, range(7), CPU)
    assert inference.tolist() == [11] * 7
    assert alone.all()
    with torch.no_grad():
        for_each_slab(work, range(7), CPU)
    assert inference.tolist() == [12] * 7
    with torch.inference_mode():
        for_each_slab(work, range(7), CPU)
    assert inference.tolist() == [14] * 7
    for_each_slab(work, [], CPU)


def test_an_error_is_the_callers() -> None:
    def work(slab: int) -> None:
        if slab == 2:
            raise ValueError("slab 2 is broken")

    with pytest.raises(ValueError, match="slab 2 is broken"):
        for_each_slab(work, range(4), CPU)
