# SPDX-License-Identifier: Apache-2.0
"""The real node with a predictor that neither decodes nor computes: what is left is receiving and publishing.

Its volume has the size of Occ3D's and the content of a street: a ground, two rows of walls and what lies behind them
unknown.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.voxels import FREE, OCC3D, OCCUPIED, UNKNOWN, OccupancyVolume
from selfocc_ros.ros.occupancy_node import main
from selfocc_ros.sensing.frames import RigSample


class NullPredictor:
    """Says the same of every sample."""

    def __init__(self) -> None:
        state = np.full(OCC3D.shape, FREE, np.uint8)
        state[:, :, 2] = OCCUPIED
        for wall in (70, 130):
            state[20:180, wall, 3:14] = OCCUPIED
        state[:, :68], state[:, 132:], state[:, :, :2] = UNKNOWN, UNKNOWN, UNKNOWN
        sdf = np.where(state == OCCUPIED, -0.2, 0.4).astype(np.float32)
        self._volume = OccupancyVolume(OCC3D, state, sdf)

    def predict(self, sample: RigSample) -> Any:
        """The same volume, of the sample's stamp."""
        return SimpleNamespace(stamp_ns=sample.stamp_ns, volume=self._volume, scene=None, timings_s={}, failed={})

    def decide(self, prediction: Any, occupied_below: float) -> OccupancyVolume:  # noqa: ARG002
        """The same volume."""
        return self._volume

    def render_depth(
        self,
        prediction: Any,  # noqa: ARG002
        camera: CameraModel,
        base_from_camera: NDArray[np.float64],  # noqa: ARG002
        stride: int = 1,
        least_opacity: float = 0.0,  # noqa: ARG002
    ) -> NDArray[np.float32]:
        """Ten metres, wherever one looks."""
        return np.full((-(-camera.height // stride), -(-camera.width // stride)), 10.0, np.float32)

    def describe(self) -> str:
        """For the log."""
        return "a predictor that does nothing"


if __name__ == "__main__":
    sys.exit(main(predictor_factory=lambda _: NullPredictor()))
