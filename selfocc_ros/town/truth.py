# SPDX-License-Identifier: Apache-2.0
"""What was really there: exact truth of a written drive, made again from its ``town.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from selfocc_ros.configuration import ConfigError
from selfocc_ros.geometry.poses import invert
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.geometry.voxels import OCC3D, VoxelGrid
from selfocc_ros.town.rigs import RigSpec
from selfocc_ros.town.town import Town, View
from selfocc_ros.town.visibility import camera_mask

__all__ = ["EPOCH_NS", "TownFrame", "TownTruth", "TruthVolume", "camera_mask", "render_frame", "stamp_of", "time_of"]

EPOCH_NS = 1_700_000_000_000_000_000
"""Stamp of town time 0, so that stamps in recordings look like those of a real drive."""


def stamp_of(t_s: float) -> int:
    """Stamp in nanoseconds of a town time in seconds."""
    return EPOCH_NS + round(t_s * 1e9)


def time_of(stamp_ns: int) -> float:
    """Town time in seconds of a stamp in nanoseconds."""
    return (stamp_ns - EPOCH_NS) * 1e-9


@dataclass(frozen=True)
class TownFrame:
    """All views of a rig around one reference stamp.

    ``rig`` holds each camera where it was at its own stamp, in base_link at the reference stamp.
    """

    stamp_ns: int
    stamps_ns: tuple[int, ...]
    odom_from_base: npt.NDArray[np.float64]
    rig: CameraRig
    views: tuple[View, ...]

    @property
    def depths(self) -> tuple[npt.NDArray[np.float32], ...]:
        """True depth (H, W) of each camera."""
        return tuple(view.depth for view in self.views)


@dataclass(frozen=True)
class TruthVolume:
    """Truth in base_link: classes (X, Y, Z) uint8 (17 = free), what the cameras see, and what is above ground."""

    grid: VoxelGrid
    classes: npt.NDArray[np.uint8]
    camera_mask: npt.NDArray[np.bool_]
    above_ground: npt.NDArray[np.bool_]


def render_frame(
    town: Town,
    spec: RigSpec,
    stamp_ns: int,
    width: int | None = None,
    supersample: int = 1,
    stamps_ns: Sequence[int] | None = None,
    colours: bool = True,
) -> TownFrame:
    """Render every camera of a rig at its own stamp around a reference stamp.

    Args:
        town: where.
        spec: the rig as it is mounted (call ``jittered`` before, where wanted).
        stamp_ns: reference stamp.
        width: columns to scale all images to; native size where None.
        supersample: rays per pixel along each axis for colour.
        stamps_ns: stamps of the cameras; where None, the reference stamp plus each camera's offset.
        colours: False leaves the images black and takes less than half the time.
    """
    rig = spec.rig(width)
    if stamps_ns is None:
        stamps_ns = [stamp_ns + round(camera.offset * 1e9) for _, camera in spec.cameras]
    odom_from_base = town.drive.odom_from_base(time_of(stamp_ns))
    poses = [
        town.drive.odom_from_base(time_of(stamp)) @ mount
        for stamp, mount in zip(stamps_ns, rig.base_from_camera, strict=True)
    ]
    views = tuple(
        town.render(camera, pose, time_of(stamp), supersample, colours)
        for camera, pose, stamp in zip(rig.cameras, poses, stamps_ns, strict=True)
    )
    base_from_odom = invert(odom_from_base)
    seen = CameraRig(rig.names, rig.cameras, np.stack([base_from_odom @ pose for pose in poses]))
    return TownFrame(stamp_ns, tuple(stamps_ns), odom_from_base, seen, views)


def truth_volume(town: Town, frame: TownFrame, grid: VoxelGrid = OCC3D, stride: int = 2) -> TruthVolume:
    """Exact occupancy, camera mask and above-ground mask at a frame's reference stamp."""
    classes = town.occupancy(grid, frame.odom_from_base, time_of(frame.stamp_ns))
    mask = camera_mask(grid, classes, frame.rig, frame.depths, stride)
    return TruthVolume(grid, classes, mask, town.above_ground(grid, frame.odom_from_base))


class TownTruth:
    """The truth of one written drive: town, rig and stamps, and volumes and views around any stamp.

    Attributes:
        town: the town.
        rig_spec: the rig as it was mounted.
        stamps_ns: the drive's own reference stamps.
        camera_stamps_ns: camera name -> stamps of its images.
    """

    def __init__(
        self, town: Town, rig_spec: RigSpec, stamps_ns: Sequence[int], camera_stamps_ns: Mapping[str, Sequence[int]]
    ) -> None:
        self.town = town
        self.rig_spec = rig_spec
        self.stamps_ns = tuple(int(stamp) for stamp in stamps_ns)
        self.camera_stamps_ns = {name: tuple(int(s) for s in camera_stamps_ns[name]) for name in rig_spec.names}
        self._frame: TownFrame | None = None

    @staticmethod
    def load(folder: str | Path, device: str = "cpu") -> TownTruth:
        """Read ``town.json`` of a folder that ``write_drive`` has written.

        Raises:
            ConfigError: if the file is missing or not a town's.
        """
        path = Path(folder)
        path = path if path.suffix == ".json" else path / "town.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path}: not a JSON file ({error}).") from error
        missing = [key for key in ("seed", "seconds", "rig", "stamps_ns", "camera_stamps_ns") if key not in values]
        if missing:
            raise ConfigError(f"{path}: not the description of a town, key {missing[0]!r} is missing.")
        town = Town(int(values["seed"]), device, float(values["seconds"]))
        spec = RigSpec.from_dict(values["rig"], str(path))
        return TownTruth(town, spec, values["stamps_ns"], values["camera_stamps_ns"])

    def frame(self, stamp_ns: int) -> TownFrame:
        """Views (image, depth, classes) at native size of each camera's image nearest to a stamp.

        Any stamp will do: a synchroniser may take another camera for its reference than the drive did.
        """
        if self._frame is None or self._frame.stamp_ns != stamp_ns:
            nearest = [
                min(self.camera_stamps_ns[name], key=lambda stamp: abs(stamp - stamp_ns))
                for name in self.rig_spec.names
            ]
            self._frame = render_frame(self.town, self.rig_spec, stamp_ns, stamps_ns=nearest)
        return self._frame

    def volume(self, stamp_ns: int, grid: VoxelGrid = OCC3D) -> TruthVolume:
        """Exact occupancy and masks of a grid in base_link at a reference stamp."""
        return truth_volume(self.town, self.frame(stamp_ns), grid)
