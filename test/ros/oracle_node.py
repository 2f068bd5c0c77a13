# SPDX-License-Identifier: Apache-2.0
"""The real node with an oracle for a network: it back-projects true depth images through the poses of the sample.

Images are PNG files of 16 bits, depth along the optical axis in millimetres, 0 where there is none. What comes out is
right exactly where the poses are, so it shows what the way from topics to `RigSample` makes of a vehicle in motion.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from selfocc_ros.geometry.poses import apply
from selfocc_ros.geometry.voxels import FREE, OCCUPIED, OccupancyVolume, VoxelGrid
from selfocc_ros.ros.occupancy_node import main
from selfocc_ros.sensing.frames import RigSample

GRID = VoxelGrid((0.0, -24.0, -1.0), (56.0, 24.0, 3.0), (140, 120, 10))
"""Cells of 0.4 m, all of them ahead."""


class OraclePredictor:
    """Occupied is the voxel in which the point of a pixel lies."""

    def describe(self) -> str:
        return "an oracle"

    def predict(self, sample: RigSample) -> Any:
        state = np.full(GRID.shape, FREE, np.uint8)
        views = zip(sample.frames, sample.rig.cameras, sample.rig.base_from_camera, strict=True)
        for frame, camera, base_from_camera in views:
            depth = cv2.imdecode(np.frombuffer(frame.data, np.uint8), cv2.IMREAD_UNCHANGED) * 1e-3
            rays = camera.pixel_rays()
            points = (rays * (depth / rays[..., 2])[..., None])[depth > 0]
            index, inside = GRID.index_of(apply(base_from_camera, points))
            state[tuple(index[inside].T)] = OCCUPIED
        return SimpleNamespace(
            stamp_ns=sample.stamp_ns, volume=OccupancyVolume(GRID, state), scene=None, timings_s={}, failed={}
        )


if __name__ == "__main__":
    sys.exit(main(predictor_factory=lambda _: OraclePredictor()))
