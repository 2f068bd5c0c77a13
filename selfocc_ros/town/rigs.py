# SPDX-License-Identifier: Apache-2.0
"""Camera rigs from YAML files, and rigs drawn at random.

A rig file has one key, ``cameras``: a mapping from camera names to

.. code-block:: yaml

    front:
      width: 384              # pixels
      height: 216
      hfov: 70.0              # horizontal field of view of the undistorted pinhole, degrees
      position: [1.6, 0.0, 1.5]   # in base_link (on the road, below the vehicle's middle), metres
      yaw: 0.0                # degrees, 0 = forward, positive to the left
      pitch: 0.0              # degrees, positive looks down
      roll: 0.0               # degrees
      offset: 0.0             # seconds from the reference stamp to this camera's stamp
      model: pinhole          # pinhole, plumb_bob, rational_polynomial or equidistant
      distortion: []          # coefficients as in sensor_msgs/CameraInfo

``yaw``, ``pitch``, ``roll``, ``offset``, ``model`` and ``distortion`` may be left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selfocc_ros.configuration import ConfigError, from_mapping, nearest_hint, read_yaml
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import body_from_optical, pose_from_rpy
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.resources import resource


@dataclass(frozen=True)
class CameraSpec:
    """One camera of a rig file."""

    width: int
    height: int
    hfov: float
    position: tuple[float, float, float]
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    offset: float = 0.0
    model: str = "pinhole"
    distortion: tuple[float, ...] = ()

    def camera(self) -> CameraModel:
        """Intrinsics: square pixels, the principal point in the middle of the image."""
        f = 0.5 * self.width / math.tan(0.5 * math.radians(self.hfov))
        matrix = np.array([[f, 0.0, 0.5 * (self.width - 1)], [0.0, f, 0.5 * (self.height - 1)], [0.0, 0.0, 1.0]])
        return CameraModel(self.width, self.height, matrix, self.model, tuple(self.distortion))

    def base_from_camera(self) -> np.ndarray:
        """Pose (4, 4) of the optical frame in base_link."""
        pose = pose_from_rpy(self.position, math.radians(self.roll), math.radians(self.pitch), math.radians(self.yaw))
        return np.asarray(pose @ body_from_optical(), dtype=np.float64)


@dataclass(frozen=True)
class RigSpec:
    """Cameras of a rig by name, in order."""

    name: str
    cameras: tuple[tuple[str, CameraSpec], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cameras."""
        return tuple(name for name, _ in self.cameras)

    @property
    def offsets_s(self) -> dict[str, float]:
        """Seconds from the reference stamp to each camera's stamp."""
        return {name: spec.offset for name, spec in self.cameras}

    def rig(self, width: int | None = None) -> CameraRig:
        """The rig with cameras at their place (at one stamp); with ``width``, images scaled to that many columns."""
        cameras = []
        for _, spec in self.cameras:
            camera = spec.camera()
            if width is not None:
                camera = camera.resized(width, max(round(spec.height * width / spec.width), 1))
            cameras.append(camera)
        return CameraRig(self.names, tuple(cameras), np.stack([spec.base_from_camera() for _, spec in self.cameras]))

    def jittered(self, seed: int) -> RigSpec:
        """The same rig as another workshop would mount it: angles to 1 degree, places to 3 cm, stamps to 4 ms."""
        rng = np.random.default_rng([int(seed), 991])
        cameras = []
        for name, spec in self.cameras:
            place = np.asarray(spec.position) + rng.uniform(-0.03, 0.03, 3)
            turn = rng.uniform(-1.0, 1.0, 3)
            shift = float(rng.uniform(-0.004, 0.004))
            offset = 0.0 if spec.offset == 0.0 else float(np.clip(spec.offset + shift, -0.04, 0.04))
            cameras.append(
                (
                    name,
                    replace(
                        spec,
                        position=(float(place[0]), float(place[1]), float(place[2])),
                        yaw=spec.yaw + float(turn[0]),
                        pitch=spec.pitch + float(turn[1]),
                        roll=spec.roll + 0.5 * float(turn[2]),
                        offset=offset,
                    ),
                )
            )
        return RigSpec(self.name, tuple(cameras))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the layout of a rig file plus ``name``."""
        cameras = {
            name: {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(spec).items()}
            for name, spec in self.cameras
        }
        return {"name": self.name, "cameras": cameras}

    @staticmethod
    def from_dict(values: Mapping[str, Any], where: str = "rig") -> RigSpec:
        """The inverse of ``to_dict``.

        Raises:
            ConfigError: for unknown or missing keys, no cameras, or impossible values.
        """
        for key in values:
            if key not in ("name", "cameras"):
                raise ConfigError(f"{where}: unknown key {key!r}{nearest_hint(str(key), ('name', 'cameras'))}.")
        cameras = values.get("cameras")
        if not isinstance(cameras, Mapping) or not cameras:
            raise ConfigError(f"{where}: key 'cameras' must map camera names to cameras, found {cameras!r}.")
        specs = []
        for name, entry in cameras.items():
            if not isinstance(entry, Mapping):
                raise ConfigError(f"{where}: camera {name!r} must be a mapping, found {entry!r}.")
            spec = from_mapping(CameraSpec, entry, f"{where}: camera {name!r}")
            if not 1.0 <= spec.hfov <= 150.0:
                raise ConfigError(f"{where}: camera {name!r}: hfov must be 1 to 150 degrees, found {spec.hfov}.")
            specs.append((str(name), spec))
        return RigSpec(str(values.get("name", Path(where).stem)), tuple(specs))


def load_rig(name_or_path: str | Path) -> RigSpec:
    """A rig by its name in config/rigs (``surround6``, ``surround5``, ``front1``) or by the path of a YAML file.

    Raises:
        ConfigError: if the file is missing or wrong; unknown keys are named with the nearest known one.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = resource("config/rigs") / f"{name_or_path}.yaml"
        if not path.is_file():
            known = sorted(file.stem for file in path.parent.glob("*.yaml"))
            raise ConfigError(f"rig {str(name_or_path)!r} is neither a YAML file nor one of {', '.join(known)}.")
    return RigSpec.from_dict(read_yaml(path), str(path))


def random_rig(rng: np.random.Generator, width: int = 384, height: int = 216) -> RigSpec:
    """A rig of 4 to 7 cameras: height 1.2 to 2.2 m, field of view 50 to 120 degrees, pitch +-5 degrees.

    The cameras look around in roughly equal steps, the first one forward; stamps differ by up to 40 ms.
    """
    count = int(rng.integers(4, 8))
    mount = float(rng.uniform(1.25, 2.15))
    lens = float(rng.uniform(50.0, 120.0)) if rng.random() < 0.5 else None
    cameras = []
    for i in range(count):
        yaw = 360.0 * i / count + (0.0 if i == 0 else float(rng.uniform(-12.0, 12.0)))
        angle = math.radians(yaw)
        hfov = float(np.clip(lens + rng.uniform(-6.0, 6.0), 50.0, 120.0)) if lens else float(rng.uniform(50.0, 120.0))
        spec = CameraSpec(
            width=width,
            height=height,
            hfov=hfov,
            position=(
                float(1.4 * math.cos(angle) + rng.uniform(-0.3, 0.3)),
                float(0.6 * math.sin(angle) + rng.uniform(-0.15, 0.15)),
                float(np.clip(mount + rng.uniform(-0.1, 0.1), 1.2, 2.2)),
            ),
            yaw=(yaw + 180.0) % 360.0 - 180.0,
            pitch=float(rng.uniform(-5.0, 5.0)),
            roll=float(rng.uniform(-1.5, 1.5)),
            offset=0.0 if i == 0 else float(rng.uniform(-0.04, 0.04)),
        )
        cameras.append((f"camera_{i}", spec))
    return RigSpec("random", tuple(cameras))
