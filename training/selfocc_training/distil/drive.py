# SPDX-License-Identifier: Apache-2.0
"""Labels along a drive, moment after moment, with no more volumes in memory than lie within reach."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.sensing.preprocess import NetworkInput
from selfocc_training.distil.config import FusionConfig
from selfocc_training.distil.fusion import FusedField, Viewpoint, fuse
from selfocc_training.distil.teacher import Teacher


@dataclass(frozen=True)
class Moment:
    """One sample of a drive.

    Attributes:
        odom_from_base: (4, 4) at its reference stamp.
        travelled_m: metres since the drive began; does not decrease from moment to moment.
        see: reads its images, when they are wanted.
    """

    odom_from_base: NDArray[np.float64]
    travelled_m: float
    see: Callable[[], NetworkInput]


def spaced(travelled_m: Sequence[float], spacing_m: float) -> list[int]:
    """Indices of moments that are at least ``spacing_m`` apart, the first one to begin with."""
    chosen: list[int] = []
    for index, at in enumerate(travelled_m):
        if not chosen or at - travelled_m[chosen[-1]] >= spacing_m - 1e-6:
            chosen.append(index)
    return chosen


def fused_drive(
    teacher: Teacher, moments: Sequence[Moment], config: FusionConfig, wanted: Collection[int] | None = None
) -> Iterator[tuple[int, Viewpoint, FusedField]]:
    """Index, own viewpoint and fused field of each moment of one stretch of continuous odometry, in order.

    Volumes every ``spacing_m`` of travel are held while they are within reach; a moment that is none of these is seen
    a second time when its turn comes, which is cheaper than to hold them all.

    Args:
        wanted: indices of moments to fuse; None is all.
    """
    sources = deque(spaced([moment.travelled_m for moment in moments], config.spacing_m))
    window: deque[tuple[int, Viewpoint]] = deque()

    def look(index: int) -> Viewpoint:
        moment = moments[index]
        return teacher.look(moment.see(), moment.odom_from_base, moment.travelled_m, config.clamp_m)

    for index in range(len(moments)) if wanted is None else sorted(wanted):
        first, last = (moments[index].travelled_m + side * config.reach_m for side in (-1, 1))
        while window and window[0][1].travelled_m < first:
            window.popleft()
        while sources and moments[sources[0]].travelled_m <= last:
            source = sources.popleft()
            if moments[source].travelled_m >= first:
                window.append((source, look(source)))
        viewpoints = [viewpoint for _, viewpoint in window]
        own = next((viewpoint for source, viewpoint in window if source == index), None)
        if own is None:
            own = look(index)
            viewpoints.append(own)
        yield index, own, fuse(own.odom_from_ground, viewpoints, teacher.config.grid, config)
