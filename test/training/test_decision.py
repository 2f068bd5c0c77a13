# SPDX-License-Identifier: Apache-2.0
"""The decision is chosen so that it repairs what is wrong with a field, layer by layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from selfocc_ros.model.selfocc import decide
from selfocc_training import decision as of_towns
from selfocc_training.decision import THRESHOLDS, Sample, choose_decision, decide_on_towns


def sample(shifts: list[float], seed: int) -> Sample:
    """A field whose cells are wrong by one shift per layer."""
    generator = torch.Generator().manual_seed(seed)
    nodes = torch.randn(13, 13, 1, generator=generator).expand(13, 13, len(shifts) + 1).contiguous()
    mean = torch.nn.functional.avg_pool3d(nodes[None, None], 2, stride=1)[0, 0]
    occupied = mean < torch.tensor(shifts)
    mask = torch.rand(12, 12, len(shifts), generator=generator) < 0.8
    above = torch.ones_like(mask)
    above[:, :, 0] = False
    return nodes, occupied, mask, above


def test_thresholds_follow_the_layers() -> None:
    shifts = [-0.42, 0.0, 0.33]
    samples = [sample(shifts, seed) for seed in range(3)]
    decision, reached = choose_decision(samples)
    assert decision.lowest_corner == 0.0
    for nodes, occupied, mask, _ in samples:
        wrong = ((decide(nodes, decision) < 0) != occupied) & mask
        assert wrong.float().mean() < 0.02
    assert reached["iou"] > 0.95
    assert reached["iou_above_ground"] > 0.95


def test_told_scores_are_those_of_the_decision() -> None:
    samples = [sample([0.1, -0.2], seed) for seed in (7, 8)]
    # Half of the truth is noise, so that no decision is perfect.
    noisy = [
        (n, o ^ (torch.rand(o.shape, generator=torch.Generator().manual_seed(1)) < 0.3), m, a) for n, o, m, a in samples
    ]
    decision, reached = choose_decision(noisy)
    hits = union = 0
    for nodes, occupied, mask, _ in noisy:
        predicted = decide(nodes, decision) < 0
        hits += int((predicted & occupied & mask).sum())
        union += int(((predicted | occupied) & mask).sum())
    assert reached["iou"] == pytest.approx(hits / union)
    assert set(decision.thresholds) <= set(THRESHOLDS)


def test_no_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        choose_decision([])


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_network_is_asked_where_it_is(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(of_towns, "Predictor", lambda _, device: asked.append(device))
    monkeypatch.setattr(of_towns, "choose_decision", lambda _: None)
    network: Any = nn.Linear(2, 2, device=device)
    decide_on_towns(network, range(100, 103))
    assert asked == [device]
