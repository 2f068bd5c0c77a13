# SPDX-License-Identifier: Apache-2.0
"""Splits never part neighbours, and odometry that jumps is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.poses import pose_from_rpy
from selfocc_training.dataset.odometer import Odometer, standstill_share
from selfocc_training.dataset.splits import SplitPlan, split_drive, validation_drives


@pytest.mark.parametrize("length", [200.0, 1000.0])
def test_the_end_of_a_drive_is_kept_behind_a_gap(length: float) -> None:
    distance = np.arange(0.0, length, 0.7)
    splits = np.array(split_drive(distance, SplitPlan()))
    train, val = distance[splits == "train"], distance[splits == "val"]
    assert len(val) == pytest.approx(0.2 * len(distance), abs=2)
    assert val.min() - train.max() >= 30.0
    assert val.max() == distance.max()


def test_a_short_drive_and_one_that_stands_train_as_a_whole() -> None:
    assert set(split_drive(np.arange(0.0, 60.0), SplitPlan())) == {"train"}
    assert set(split_drive(np.zeros(50), SplitPlan())) == {"train"}


def test_whole_drives_do_not_depend_on_names() -> None:
    plan = SplitPlan("drives", 0.2)
    prints = {f"drive{k}": f"print{k}" for k in range(10)}
    chosen = {prints[name] for name in validation_drives(prints, plan)}
    renamed = {f"z{9 - k}": f"print{k}" for k in range(10)}
    assert {renamed[name] for name in validation_drives(renamed, plan)} == chosen
    assert len(chosen) == 2
    assert validation_drives({"only": "one"}, plan) == set()


@pytest.mark.fault
@pytest.mark.parametrize("values", [("frames", 0.2, 30.0), ("segments", 1.0, 30.0), ("segments", 0.2, -1.0)])
def test_fault_impossible_plans(values: tuple[str, float, float]) -> None:
    with pytest.raises(SelfOccError):
        SplitPlan(*values)


def test_a_jump_ends_a_segment_and_is_not_travelled() -> None:
    odometer = Odometer()
    for k in range(40):
        odometer.add(k * 100_000_000, pose_from_rpy((1.0 * k + (3.0 if k >= 20 else 0.0), 0, 0), 0, 0, 0.03 * k))
    assert odometer.segment == 1
    assert [(stamp, round(off, 6)) for stamp, off in odometer.jumps] == [(2_000_000_000, 3.0)]
    assert odometer.distance_m == pytest.approx(38.0)


def test_hard_braking_and_noise_are_no_jumps_and_standing_adds_nothing() -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.003, (200, 3))
    odometer, stamps, travelled = Odometer(), [], []
    for k in range(200):
        t = 0.1 * k
        x = 20.0 * t - 0.5 * 9.0 * t * t if t < 20.0 / 9.0 else 0.5 * 400.0 / 9.0
        odometer.add(k * 100_000_000, pose_from_rpy(np.array([x, 0, 0]) + noise[k], 0, 0, 0))
        stamps.append(k * 100_000_000)
        travelled.append(odometer.distance_m)
    assert odometer.jumps == []
    assert odometer.distance_m == pytest.approx(22.2, abs=0.5)
    assert standstill_share(np.array(stamps), np.array(travelled)) == pytest.approx(0.88, abs=0.04)


def test_a_pause_ends_a_segment() -> None:
    odometer = Odometer()
    for k in (0, 1, 2, 40, 41):
        odometer.add(k * 100_000_000, pose_from_rpy((0.5 * k, 0, 0), 0, 0, 0))
    assert (odometer.segment, odometer.jumps, len(odometer.pauses)) == (1, [], 1)
