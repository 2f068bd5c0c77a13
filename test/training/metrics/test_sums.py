# SPDX-License-Identifier: Apache-2.0
"""Samples scored apart, in any order, or before and after a break give the figures of all at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from functools import reduce
from operator import add

import numpy as np
import pytest

from selfocc_training.metrics.depth import DepthErrors, score_depths
from selfocc_training.metrics.occ3d import OCC3D, SELFOCC_PAPER, Occ3dScore, score_occ3d
from selfocc_training.metrics.rayiou import RayCaster, RayScore, score_rays
from selfocc_training.metrics.semantickitti import SemanticKittiScore, score_semantickitti
from selfocc_training.metrics.sums import Sums

RNG = np.random.default_rng(0)


def occ3d_samples() -> list[Sums]:
    shape = (4, 20, 20, 8)
    predicted, true = RNG.integers(0, 18, (2, *shape))
    mask = RNG.random(shape) < 0.5
    return [Occ3dScore.zeros(), *(score_occ3d(p, t, m) for p, t, m in zip(predicted, true, mask, strict=True))]


def ray_samples() -> list[Sums]:
    caster = RayCaster(np.array([[0.0, 1.0, 1.0]]), RNG.standard_normal((50, 3)))
    predicted, true = np.where(RNG.random((2, 3, 200, 200, 16)) < 0.03, 4, 17)
    return [RayScore(), *(score_rays(p, t, caster) for p, t in zip(predicted, true, strict=True))]


def kitti_samples() -> list[Sums]:
    true = RNG.choice([0, 1, 9, 255], (3, 12, 12, 6))
    return [SemanticKittiScore(), *(score_semantickitti(RNG.random(t.shape) < 0.4, t) for t in true)]


def depth_samples() -> list[Sums]:
    predicted, true = RNG.uniform(2, 60, (2, 3, 2, 40))
    mask = RNG.random(true.shape) < 0.7
    return [DepthErrors.zeros(2), *(score_depths(p, t, m) for p, t, m in zip(predicted, true, mask, strict=True))]


def numbers(score: Sums) -> list[float]:
    """All that was counted, in one row."""
    parts = [getattr(score, entry.name) for entry in fields(score)]
    rows = [numbers(part) for part in parts if isinstance(part, Sums)]
    rows += [part.ravel().tolist() for part in parts if isinstance(part, np.ndarray)]
    return [number for row in rows for number in row]


@pytest.mark.parametrize("make", [occ3d_samples, ray_samples, kitti_samples, depth_samples])
def test_sums_merge_and_resume(make: Callable[[], list[Sums]]) -> None:
    nothing, *samples = make()
    whole = reduce(add, samples, nothing)
    assert numbers(whole) == pytest.approx(numbers(reduce(add, reversed(samples))))
    assert numbers(whole) != numbers(samples[0])
    resumed = nothing.restored(json.loads(json.dumps(samples[0].state())))
    assert reduce(add, samples[1:], resumed).state() == whole.state()


def test_what_differs_does_not_add_up() -> None:
    one, other = Occ3dScore.zeros(OCC3D), Occ3dScore.zeros(SELFOCC_PAPER)
    with pytest.raises(ValueError, match=r"protocol .*selfocc_paper.* do not add up"):
        one + other
    with pytest.raises(ValueError, match=r"protocol"):
        one.restored(json.loads(json.dumps(other.state())))
    with pytest.raises(ValueError, match=r"shapes \(2, 8\) and \(3, 8\)"):
        DepthErrors.zeros(2) + DepthErrors.zeros(3)
    with pytest.raises(ValueError, match="shape"):
        DepthErrors.zeros(2).restored(DepthErrors.zeros(3).state())
    with pytest.raises(ValueError, match="lacks raw"):
        DepthErrors.zeros(2).restored({})
