# SPDX-License-Identifier: Apache-2.0
"""What several outputs of one moment need, computed when the first of them asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.ground import in_band, local_ground
from selfocc_ros.geometry.voxels import OCCUPIED, OccupancyVolume
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros.outputs.sdf_slice import slice_distance


@dataclass(frozen=True, eq=False)
class Moment:
    """Occupancy at one stamp, and how it is to be published.

    Attributes:
        volume: the voxels, in `frame`.
        stamp_ns: reference stamp of the sample.
        frame: the base frame, or the fixed frame for what is remembered.
        ground_z: height of the ground under the vehicle, metres in `frame`.
        parameters: those in force when it was predicted.
        place: x and y of the vehicle, metres in `frame`.
    """

    volume: OccupancyVolume
    stamp_ns: int
    frame: str
    ground_z: float
    parameters: NodeParameters
    place: tuple[float, float] = (0.0, 0.0)

    @cached_property
    def ground(self) -> NDArray[np.float32] | None:
        """Height (X, Y) of the ground in `frame`, metres; None where it counts as level."""
        if not self.parameters.local_ground:
            return None
        return local_ground(self.volume.state_ZXY == OCCUPIED, self.volume.grid, self.ground_z, self.place)

    @cached_property
    def band_ZXY(self) -> NDArray[np.bool_]:
        """Which voxels lie in the height band, layers first; raises BandError where none does."""
        return in_band(self.volume.grid, self.parameters.height_band, self._ground_or_level)

    @cached_property
    def slice(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """What `slice_distance` finds at the height of the slice."""
        return slice_distance(self.volume, self.parameters.sdf_slice_height, self._ground_or_level)

    @property
    def _ground_or_level(self) -> NDArray[np.float32] | float:
        return self.ground_z if self.ground is None else self.ground
