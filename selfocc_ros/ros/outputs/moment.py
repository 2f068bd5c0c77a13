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
        volume: the voxels, in the base frame at the stamp.
        stamp_ns: reference stamp of the sample.
        parameters: those in force when it was predicted.
    """

    volume: OccupancyVolume
    stamp_ns: int
    parameters: NodeParameters

    @property
    def frame(self) -> str:
        """The base frame."""
        return self.parameters.base_frame

    @cached_property
    def ground(self) -> NDArray[np.float64] | None:
        """Height (X, Y) of the ground in the base frame, metres; None where it counts as level."""
        if not self.parameters.local_ground:
            return None
        return local_ground(self.volume.state_ZXY == OCCUPIED, self.volume.grid, self.parameters.ground_z)

    @cached_property
    def band_ZXY(self) -> NDArray[np.bool_]:
        """Which voxels lie in the height band, layers first; raises BandError where none does."""
        ground = self.parameters.ground_z if self.ground is None else self.ground
        return in_band(self.volume.grid, self.parameters.height_band, ground)

    @cached_property
    def slice(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """What `slice_distance` finds at the height of the slice."""
        ground = self.parameters.ground_z if self.ground is None else self.ground
        return slice_distance(self.volume, self.parameters.sdf_slice_height, ground)
