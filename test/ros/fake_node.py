# SPDX-License-Identifier: Apache-2.0
"""The real node with a small predictor: each voxel depends on every pixel, pose and camera of the sample.

Whatever differs between two samples, a pixel or the millimetres of a pose, changes half of the voxels.

The parameter `checkpoint` says how it loads: `missing` and `broken` fail, as what is not there and as a bug does;
`wait:FILE` waits until there is such a file; `heavy` takes `HEAVY` bytes; `faulty:FILE` loads at once and fails as the
file says, sample by sample (see `FaultyPredictor`); any other text is its name.
"""

from __future__ import annotations

import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.voxels import FREE, OCCUPIED, UNKNOWN, OccupancyVolume, VoxelGrid
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros.occupancy_node import main
from selfocc_ros.sensing.decode import decode
from selfocc_ros.sensing.frames import DecodeError, RigSample
from selfocc_ros.sensing.preprocess import check_size

HEAVY = 200_000_000
GRID = VoxelGrid((-4.0, -3.0, -1.0), (4.0, 3.0, 2.2), (20, 15, 8))


class FakePredictor:
    """Decodes as the real one does; its occupancy is a checksum made visible."""

    def __init__(self, ground_z: float = 0.0, name: str = "") -> None:
        self.grid = GRID.shifted(ground_z)
        self.name = name
        self.weights: Any = None

    def describe(self) -> str:
        return f"a checksum made visible {self.name}".strip()

    def decide(self, prediction: Any, occupied_below: float) -> OccupancyVolume:
        return prediction.volume

    def render_depth(
        self,
        prediction: Any,
        camera: CameraModel,
        base_from_camera: np.ndarray,
        stride: int = 1,
        least_opacity: float = 0.0,
    ) -> np.ndarray:
        return np.full((-(-camera.height // stride), -(-camera.width // stride)), 10.0, np.float32)

    def predict(self, sample: RigSample) -> Any:
        checksum, failed = 0, {}
        views = zip(sample.frames, sample.rig.cameras, sample.rig.base_from_camera, strict=True)
        for frame, camera, pose in views:
            try:
                check_size(frame, camera)
                checksum = zlib.crc32(decode(frame).tobytes(), checksum)
            except DecodeError as error:
                failed[frame.camera] = str(error)
                continue
            checksum = zlib.crc32(np.round(pose * 1e6).astype(np.int64).tobytes(), checksum)
        if len(failed) == len(sample.frames):
            raise DecodeError("; ".join(failed.values()))
        state = np.random.default_rng(checksum).choice(
            np.array([FREE, OCCUPIED, UNKNOWN], np.uint8), self.grid.shape, p=[0.6, 0.2, 0.2]
        )
        state[0, 0] = UNKNOWN  # a column that no camera sees, whatever the band
        return SimpleNamespace(
            stamp_ns=sample.stamp_ns,
            volume=OccupancyVolume(self.grid, state),
            scene=None,
            timings_s={"decode": 0.001},
            failed=failed,
        )


class OutOfMemoryError(RuntimeError):
    """Named as torch's is."""


class FaultyPredictor(FakePredictor):
    """Does what a file says, for each sample anew: nothing, `raise`, `memory` or `slow SECONDS`."""

    def __init__(self, ground_z: float, name: str, file: Path) -> None:
        super().__init__(ground_z, name)
        self._file = file

    def predict(self, sample: RigSample) -> Any:
        fault, _, detail = self._file.read_text().strip().partition(" ")
        if fault == "raise":
            raise ZeroDivisionError("a bug of the network")
        if fault == "memory":
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if fault == "slow":
            time.sleep(float(detail))
        return super().predict(sample)


def load(parameters: NodeParameters) -> FakePredictor:
    how, _, detail = parameters.checkpoint.partition(":")
    if how == "missing":
        raise SelfOccError("checkpoint missing: there is no such file")
    if how == "broken":
        raise ZeroDivisionError("a bug")
    while how == "wait" and not Path(detail).exists():
        time.sleep(0.01)
    if how == "faulty":
        return FaultyPredictor(parameters.ground_z, "with faults", Path(detail))
    out = FakePredictor(parameters.ground_z, parameters.checkpoint)
    if how == "heavy":
        out.weights = np.ones(HEAVY, np.uint8)
    return out


if __name__ == "__main__":
    sys.exit(main(predictor_factory=load))
