# SPDX-License-Identifier: Apache-2.0
"""Steps drawn ahead: in order, no more than asked for, and an error where it belongs."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest
import torch

from selfocc_training.config import DataConfig
from selfocc_training.fit.loader import StepLoader, moved
from selfocc_training.steps import Step, draw_step
from selfocc_training.town_clips import Clip


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_steps_come_in_order_from_one_thread_and_end(ahead: int) -> None:
    drawn, threads = list[int](), set[int]()

    def draw(number: int) -> list[Step]:
        drawn.append(number)
        threads.add(threading.get_ident())
        return cast("list[Step]", [number])

    loader = StepLoader(draw, 5, 9, ahead)
    assert [loader.take() for _ in range(4)] == [[5], [6], [7], [8]]
    assert drawn == [5, 6, 7, 8]
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    with pytest.raises(IndexError):
        loader.take()
    loader.close()


def test_an_error_comes_with_its_own_step() -> None:
    def draw(number: int) -> list[Any]:
        if number == 1:
            raise OSError("the disk is gone")
        return [number]

    loader = StepLoader(draw, 0, 3, 2)
    assert loader.take() == [0]
    with pytest.raises(OSError, match="the disk is gone"):
        loader.take()
    loader.close()


def test_a_step_moves_whole(ground_clip: Clip) -> None:
    data = DataConfig(current_views=1, anchor_views=1, anchor_reach=2, widest_gap=2, grid=(6, 8))
    step = draw_step([ground_clip], 3, 0, data)
    double = moved(step, torch.device("cpu"), torch.float64)
    assert (
        double.images.dtype == double.rig.intrinsics.dtype == double.views.source_rigs[1].sizes.dtype == torch.float64
    )
    assert double.current_cameras.dtype == torch.int64
    assert (double.sample, double.views.pairs, double.seed) == (step.sample, step.views.pairs, step.seed)
    assert torch.equal(double.views.sources.float(), step.views.sources)
