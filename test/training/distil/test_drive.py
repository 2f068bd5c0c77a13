# SPDX-License-Identifier: Apache-2.0
"""Along a drive: which viewpoints each moment is fused of, and how few of them are held."""

from __future__ import annotations

import weakref
from typing import Any, cast

import numpy as np
import pytest
import torch

from selfocc_ros.geometry.poses import pose_from_rpy
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_training.distil.config import FusionConfig
from selfocc_training.distil.drive import Moment, fused_drive, spaced
from selfocc_training.distil.fusion import Viewpoint
from selfocc_training.distil.teacher import Teacher

GRID = VoxelGrid((-40, -40, -1), (40, 40, 1), (8, 8, 2))


class CountingTeacher:
    """Says 0.01 m times the number of the moment everywhere, and knows how many of its viewpoints are alive."""

    class config:  # noqa: N801
        grid = GRID

    def __init__(self) -> None:
        self.looks: list[int] = []
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()

    def look(self, seen: Any, odom_from_base: Any, travelled_m: float, clamp_m: float) -> Viewpoint:
        self.looks.append(seen)
        distances = torch.full([cells + 1 for cells in GRID.shape], 0.01 * seen)
        made = Viewpoint.of(distances, np.ones(GRID.shape, np.bool_), odom_from_base, travelled_m, clamp_m)
        self.alive.add(made.field)
        return made


def moments(travelled: list[float]) -> list[Moment]:
    return [
        Moment(pose_from_rpy((at, 0, 0), 0, 0, 0), at, cast("Any", lambda number=number: number))
        for number, at in enumerate(travelled)
    ]


def test_viewpoints_are_spaced() -> None:
    assert spaced([0.0, 0.6, 1.2, 1.2, 1.8, 5.0], 1.2) == [0, 2, 5]
    assert spaced([0.0, 0.0, 0.6], 0.0) == [0, 1, 2]
    assert spaced([], 1.0) == []


def test_each_moment_is_fused_of_what_is_within_reach_and_of_itself() -> None:
    config = FusionConfig(reach_m=2.5, spacing_m=1.0, decay_m=1e6)
    travelled = [0.5 * number for number in range(40)]
    teacher = CountingTeacher()
    most = 0
    for index, own, fused in fused_drive(cast("Teacher", teacher), moments(travelled), config):
        sources = {n for n in range(0, 40, 2) if abs(travelled[n] - travelled[index]) <= 2.5} | {index}
        assert fused.distances[4, 4, 1].item() == pytest.approx(0.01 * np.mean(list(sources)), abs=1e-3)
        assert own.distances[4, 4, 1].item() == pytest.approx(0.01 * index, abs=1e-3)
        most = max(most, len(teacher.alive))
    assert most <= 2 * 2.5 / 1.0 + 2
    # Every second one is a source and seen once; the others are seen once too, for themselves.
    assert sorted(teacher.looks) == list(range(40))


def test_only_what_is_wanted_is_looked_for() -> None:
    config = FusionConfig(reach_m=1.0, spacing_m=1.0)
    teacher = CountingTeacher()
    found = fused_drive(cast("Teacher", teacher), moments([float(n) for n in range(100)]), config, [50, 90])
    assert [index for index, _, _ in found] == [50, 90]
    assert sorted(teacher.looks) == [49, 50, 51, 89, 90, 91]


def test_a_vehicle_that_stands_is_seen_at_its_own_time() -> None:
    config = FusionConfig(spacing_m=1.0, decay_m=1e6)
    teacher = CountingTeacher()
    *_, (index, _, fused) = fused_drive(cast("Teacher", teacher), moments([0.0] * 5), config)
    assert index == 4
    assert fused.distances[4, 4, 1].item() == pytest.approx(0.02, abs=1e-3)
