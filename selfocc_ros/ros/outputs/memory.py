# SPDX-License-Identifier: Apache-2.0
"""The rolling local map behind ~/local_map and ~/local_map_points: fed where they are wanted, once per moment."""

from __future__ import annotations

import numpy as np

from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.ros.outputs.moment import Moment
from selfocc_ros.runtime.local_map import LocalMap, Weights


class Memory:
    """Turns a moment in the base frame into one in the fixed frame that also holds what was seen before.

    Args:
        tree: tells where the vehicle was.
    """

    def __init__(self, tree: TransformTree) -> None:
        self._tree = tree
        self._map: LocalMap | None = None
        self._size_m = 0.0
        self._added: Moment | None = None
        self._remembered: Moment | None = None
        self._forget = False

    def forget(self) -> None:
        """Start anew with the next moment; safe to call from any thread."""
        self._forget = True

    def add(self, moment: Moment) -> Moment:
        """Fuse a moment, unless that is done already, and return the map.

        Raises:
            TransformError: where the vehicle was is not known.
        """
        if moment is self._added and self._remembered is not None:
            return self._remembered
        fusion, fixed = moment.parameters.fusion, moment.parameters.fixed_frame
        odom_from_base = self._tree.lookup(fixed, moment.frame, moment.stamp_ns)
        if self._map is None or self._forget or self._size_m != fusion.size:
            self._map, self._size_m, self._forget = LocalMap(fusion.size), fusion.size, False
        weights = Weights(fusion.hit, fusion.miss, fusion.decay)
        self._map.add(moment.volume, odom_from_base, moment.stamp_ns, weights)
        x, y, ground_z = (odom_from_base @ np.array([0.0, 0.0, moment.ground_z, 1.0]))[:3].tolist()
        self._added = moment
        self._remembered = Moment(self._map.volume(), moment.stamp_ns, fixed, ground_z, moment.parameters, place=(x, y))
        return self._remembered
