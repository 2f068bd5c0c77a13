# SPDX-License-Identifier: Apache-2.0
"""Predictor: a synchronised sample of camera images in, occupancy out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.voxels import FREE, OCCUPIED, UNKNOWN, OccupancyVolume
from selfocc_ros.model.checkpoint import CheckpointInfo, load_checkpoint, shipped_checkpoint
from selfocc_ros.model.families import AnyConfig, Network, class_labels, label_names
from selfocc_ros.model.planes.config import PlaneConfig
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.model.scene import Scene
from selfocc_ros.runtime.labels import voxel_labels
from selfocc_ros.runtime.visibility import SAMPLES, SightLines
from selfocc_ros.sensing.frames import RigSample
from selfocc_ros.sensing.official_preprocess import OfficialInput
from selfocc_ros.sensing.preprocess import preprocess

RENDER_CHUNK = 8192
"""Rays rendered at once: bounds memory at a few hundred MB whatever the image size."""


class DeviceError(SelfOccError, ValueError):
    """The requested device is not there."""


@dataclass(frozen=True)
class Prediction:
    """What the network says of one sample.

    Attributes:
        stamp_ns: reference stamp of the sample.
        volume: occupancy in base_link at that stamp, with classes if the network has any; voxels on no line of sight
            are UNKNOWN.
        scene: the continuous fields, in the ground frame (base_link lowered by ``ground_z``).
        timings_s: seconds per stage: decode, geometry, encode, field.
        failed: cameras whose image could not be used, with the reason.
        seen: (X, Y, Z) voxels on a line of sight.
    """

    stamp_ns: int
    volume: OccupancyVolume
    scene: Scene
    timings_s: Mapping[str, float]
    failed: Mapping[str, str]
    seen: NDArray[np.bool_]


def choose_device(name: str) -> torch.device:
    """``auto`` takes CUDA where there is one.

    Raises:
        DeviceError: if CUDA is asked for and not available, or the name is unknown.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise DeviceError(f"device must be auto, cuda or cpu, found {name!r}.")
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device cuda was asked for, but torch finds no CUDA device; use device auto or cpu.")
    return torch.device(name)


def input_of(config: AnyConfig) -> tuple[int, int] | OfficialInput:
    """What a network wants of images, in the terms of ``preprocess``."""
    size = config.input
    if not isinstance(config, PlaneConfig) or config.input.crop is None:
        return size.width, size.height
    return OfficialInput(
        crop=config.input.crop,
        scale=config.input.scale,
        pad_to=(size.width, size.height),
        pad_ratio=config.input.pad_ratio,
        mean=config.input.mean,
        std=config.input.std,
        camera_width=config.input.camera_width,
    )


class Predictor:
    """Owns network, device and the cached geometry of the rig. For one caller at a time."""

    def __init__(
        self, model: Network, device: str = "auto", ground_z: float = 0.0, info: CheckpointInfo | None = None
    ) -> None:
        """``ground_z``: height of the road in base_link, metres; 0 where base_link lies on the road."""
        self.device = choose_device(device)
        self.model = model.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.config: AnyConfig = model.config
        self.ground_z = ground_z
        self.info = info
        self._fingerprint = ""
        self._cache: Any = None  # of the network's own type
        self._sight: SightLines | None = None

    @classmethod
    def from_checkpoint(cls, path: str | Path = "default", device: str = "auto", ground_z: float = 0.0) -> Predictor:
        """Predictor of a checkpoint file; ``default`` is the one that comes with the package.

        Raises:
            CheckpointError: if the file is missing, damaged or foreign.
            DeviceError: if the device is not there.
        """
        file = shipped_checkpoint() if str(path) in ("", "default") else Path(path)
        model, info = load_checkpoint(file)
        return cls(model, device, ground_z, info)

    def describe(self) -> str:
        """Size, grid and device in a few words: '3.1 M weights, grid 200 x 200 x 16 at 0.4 m, on cpu'."""
        weights = sum(parameter.numel() for parameter in self.model.parameters())
        grid = self.config.grid
        cells = " x ".join(str(count) for count in grid.shape)
        return f"{weights / 1e6:.1f} M weights, grid {cells} at {grid.cell[0]:.2g} m, on {self.device}"

    @torch.inference_mode()
    def predict(self, sample: RigSample) -> Prediction:
        """Occupancy of one sample.

        Raises:
            DecodeError: if none of its images can be used; single bad images are left out and named in ``failed``.
        """
        try:
            return self._predict(sample)
        except (RuntimeError, MemoryError):
            # The device may be out of memory, and is then helped by holding less.
            self._fingerprint, self._cache, self._sight = "", None, None
            raise

    def _predict(self, sample: RigSample) -> Prediction:
        clock = _Stopwatch(self.device)
        size = self.config.input
        network_input = preprocess(sample, input_of(self.config))
        images = torch.from_numpy(network_input.images).to(self.device).permute(0, 3, 1, 2).float()
        clock.lap("decode")
        rig = network_input.rig.shifted(_lowered(self.ground_z))
        fingerprint = rig.fingerprint()
        tensors = RigTensors.from_rig(rig, self.device)
        if fingerprint != self._fingerprint or self._cache is None or self._sight is None:
            self._cache = self.model.prepare(tensors)
            self._sight = SightLines.of(tensors, self.config.grid, (size.width, size.height))
            self._fingerprint = fingerprint
        clock.lap("geometry")
        scene = self.model.encode(images, self._cache)
        clock.lap("encode")
        values = self.model.decide(scene).cpu().numpy().astype(np.float32)
        sight = self.model.render(scene, self._sight.origins, self._sight.directions, samples=SAMPLES)
        seen = self._sight.seen_voxels(sight.median_distance())
        volume = self._volume(scene, values, seen, 0.0)
        clock.lap("field")
        return Prediction(sample.stamp_ns, volume, scene, clock.laps, network_input.failed, seen)

    @torch.inference_mode()
    def decide(self, prediction: Prediction, occupied_below: float) -> OccupancyVolume:
        """The volume of a prediction with voxels occupied where the network's value is below another limit than 0.

        Args:
            occupied_below: metres, as ``prediction.volume.sdf``; more voxels are occupied above 0, fewer below.
        """
        values = np.asarray(prediction.volume.sdf, np.float32)
        return self._volume(prediction.scene, values, prediction.seen, occupied_below)

    def _volume(
        self, scene: Scene, values: NDArray[np.float32], seen: NDArray[np.bool_], occupied_below: float
    ) -> OccupancyVolume:
        state = np.where(seen, np.uint8(FREE), np.uint8(UNKNOWN))
        occupied = values < occupied_below
        state[occupied] = OCCUPIED
        classes = None
        if channels := class_labels(self.config):
            classes = voxel_labels(scene, channels, self.config.grid, occupied)
        return OccupancyVolume(
            self.config.grid.shifted(self.ground_z), state, values, classes, label_names(self.config)
        )

    @torch.inference_mode()
    def render_depth(
        self,
        prediction: Prediction,
        camera: CameraModel,
        base_from_camera: NDArray[np.float64],
        stride: int = 1,
        least_opacity: float = 0.0,
    ) -> NDArray[np.float32]:
        """Rendered z-depth in metres at every ``stride``-th pixel: (ceil(height / stride), ceil(width / stride)).

        Args:
            camera: any camera, also one that the network did not see; distortion is honoured.
            base_from_camera: (4, 4) its pose in base_link at the prediction's stamp.
            least_opacity: NaN where less than this share of a ray ends within the grid (sky, and what is further).
        """
        local = camera.pixel_rays()[::stride, ::stride]
        pose = _lowered(self.ground_z) @ base_from_camera
        directions = torch.as_tensor(local @ pose[:3, :3].T, dtype=torch.float32, device=self.device).reshape(-1, 3)
        origins = torch.as_tensor(pose[:3, 3], dtype=torch.float32, device=self.device).expand_as(directions)
        samples = 2 * self.config.renderer.samples
        parts = []
        for o, d in zip(torch.split(origins, RENDER_CHUNK), torch.split(directions, RENDER_CHUNK), strict=True):
            rendered = self.model.render(prediction.scene, o, d, samples=samples)
            opaque = rendered.weights.sum(dim=-1) >= least_opacity
            parts.append(torch.where(opaque, rendered.median_distance(), torch.nan))
        distance = torch.cat(parts).cpu().numpy().reshape(local.shape[:2])
        return np.asarray(distance * local[..., 2], dtype=np.float32)


class _Stopwatch:
    """Seconds per stage; waits for the device, since CUDA calls return early."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def _lowered(ground_z: float) -> NDArray[np.float64]:
    """Ground frame from base_link: the same axes, origin on the road."""
    pose = np.eye(4)
    pose[2, 3] = -ground_z
    return pose
