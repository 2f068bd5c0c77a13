# SPDX-License-Identifier: Apache-2.0
"""What one scene of nuScenes consists of: captures of its sensors, poses of the vehicle, keyframes.

nuScenes' schema: a `scene` has `sample`s (keyframes, 2 Hz); every `sample_data`, sweeps too, belongs to a sample and
has an `ego_pose` of its own (map frame from vehicle frame, at its own stamp) and a `calibrated_sensor` (vehicle frame
from sensor frame). Stamps are in microseconds, quaternions in the order w, x, y, z. The vehicle frame is on the ground
under the middle of the rear axle, x forward: REP-105's base_link. Camera frames are optical.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.poses import check_pose, pose
from selfocc_ros.logs.nuscenes.tables import NuScenesError, Tables, hint

BATCH = 64
"""Scenes that are read in one pass over the tables; about 3.3 MB each while they are read."""

ALL = "all"

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SceneEntry:
    """A record of `scene.json`."""

    token: str
    name: str
    description: str


@dataclass(frozen=True, eq=False)
class Sensor:
    """A sensor as it is mounted in one scene.

    Attributes:
        channel: nuScenes' name, such as CAM_FRONT_LEFT.
        modality: camera, lidar or radar.
        base_from_sensor: (4, 4) pose of its frame in base_link.
        intrinsics: (3, 3) camera matrix of images without distortion; None for what is no camera.
    """

    channel: str
    modality: str
    base_from_sensor: FloatArray
    intrinsics: FloatArray | None


@dataclass(frozen=True, slots=True)
class Capture:
    """A record of `sample_data.json`: one image or cloud.

    Attributes:
        stamp_us: when it was taken.
        sensor: of which.
        file: below the dataset's root.
        keyframe: whether it belongs to a sample itself, or is a sweep between samples.
        width, height: of an image, else 0.
    """

    stamp_us: int
    sensor: Sensor
    file: str
    keyframe: bool
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything about one scene.

    Attributes:
        entry: its record.
        captures: of cameras and LiDARs, in the order of their stamps.
        pose_stamps_us: (N) of the poses of all sensors' captures, radars' too; increasing, each once.
        map_from_base: (N, 4, 4) the vehicle at these stamps.
        samples: tokens of keyframes by their stamps in microseconds, in order.
    """

    entry: SceneEntry
    captures: tuple[Capture, ...]
    pose_stamps_us: NDArray[np.int64]
    map_from_base: FloatArray
    samples: dict[int, str]


@dataclass
class _Gathered:
    """What is known of a scene while the tables are read."""

    entry: SceneEntry
    samples: dict[int, str] = field(default_factory=dict)
    captures: list[Capture] = field(default_factory=list)
    stamps_us: list[int] = field(default_factory=list)
    translations: list[list[float]] = field(default_factory=list)
    rotations: list[list[float]] = field(default_factory=list)

    def finish(self) -> Scene:
        if not self.captures or not self.stamps_us:
            raise NuScenesError(f"{self.entry.name} has no captures: sample.json and sample_data.json do not fit")
        stamps, first = np.unique(np.array(self.stamps_us, np.int64), return_index=True)
        map_from_base = _poses(np.array(self.translations)[first], np.array(self.rotations)[first])
        captures = tuple(sorted(self.captures, key=lambda capture: (capture.stamp_us, capture.sensor.channel)))
        return Scene(self.entry, captures, stamps, map_from_base, dict(sorted(self.samples.items())))


def choose_scenes(tables: Tables, wanted: Sequence[str]) -> list[SceneEntry]:
    """The scenes that names or tokens mean, each once; `all` means every scene.

    Raises:
        NuScenesError: there is no such scene; names the nearest.
    """
    fields = ("token", "name", "description")
    entries = [SceneEntry(*(str(value) for value in row)) for row in tables.rows("scene", fields)]
    if ALL in wanted:
        return entries
    known = {entry.token: entry for entry in entries} | {entry.name: entry for entry in entries}
    for name in wanted:
        if name not in known:
            names = sorted(entry.name for entry in entries)
            raise NuScenesError(f"{tables.version} has no scene {name!r}{hint(name, names)}")
    return list(dict.fromkeys(known[name] for name in wanted))


def load_scenes(tables: Tables, entries: Sequence[SceneEntry]) -> Iterator[Scene]:
    """The scenes in their order; `BATCH` of them in one pass over the tables.

    Raises:
        NuScenesError: a table is missing or damaged.
    """
    for begin in range(0, len(entries), BATCH):
        yield from _load_batch(tables, entries[begin : begin + BATCH])


def _load_batch(tables: Tables, entries: Sequence[SceneEntry]) -> Iterator[Scene]:
    scenes = {entry.token: _Gathered(entry) for entry in entries}
    of_sample: dict[str, _Gathered] = {}
    try:
        rows = tables.rows("sample", ("token", "timestamp", "scene_token"), "scene_token", scenes)
        for token, stamp_us, scene_token in rows:
            scenes[scene_token].samples[int(stamp_us)] = token
            of_sample[token] = scenes[scene_token]
        of_pose = _gather_captures(tables, of_sample)
        rows = tables.rows("ego_pose", ("token", "timestamp", "translation", "rotation"), "token", of_pose)
        for token, stamp_us, translation, rotation in rows:
            scene = of_pose.pop(token)
            scene.stamps_us.append(int(stamp_us))
            scene.translations.append(translation)
            scene.rotations.append(rotation)
        if of_pose:
            raise NuScenesError(
                f"{tables.version}/ego_pose.json lacks {len(of_pose)} poses that sample_data.json names, the first is "
                f"{next(iter(of_pose))}"
            )
        for gathered in scenes.values():
            yield gathered.finish()
    except (TypeError, ValueError, LookupError) as error:
        if isinstance(error, NuScenesError):
            raise
        raise NuScenesError(f"the tables of {tables.version} are damaged: {error}") from error


def _gather_captures(tables: Tables, of_sample: dict[str, _Gathered]) -> dict[str, _Gathered]:
    """Fills in the captures of scenes; returns scenes by the tokens of their poses."""
    mounted = _sensors(tables)
    sensors: dict[str, Sensor] = {}
    of_pose: dict[str, _Gathered] = {}
    fields = (
        "sample_token", "ego_pose_token", "calibrated_sensor_token", "timestamp", "filename", "is_key_frame",
        "width", "height",
    )  # fmt: skip
    for row in tables.rows("sample_data", fields, "sample_token", of_sample):
        sample_token, pose_token, sensor_token, stamp_us, file, keyframe, width, height = row
        scene = of_sample[sample_token]
        of_pose[pose_token] = scene
        if sensor_token not in sensors:
            if sensor_token not in mounted:
                raise NuScenesError(f"{tables.version}/calibrated_sensor.json lacks {sensor_token}")
            sensors[sensor_token] = _sensor(*mounted[sensor_token])
        sensor = sensors[sensor_token]
        if sensor.modality != "radar":
            size = int(width or 0), int(height or 0)
            scene.captures.append(Capture(int(stamp_us), sensor, str(file), bool(keyframe), *size))
    return of_pose


def _sensors(tables: Tables) -> dict[str, tuple[str, str, Any, Any, Any]]:
    """Channel, modality, translation, rotation and camera matrix by tokens of calibrated sensors."""
    kinds = {token: (channel, kind) for token, channel, kind in tables.rows("sensor", ("token", "channel", "modality"))}
    fields = ("token", "sensor_token", "translation", "rotation", "camera_intrinsic")
    return {
        token: (*kinds[sensor_token], translation, rotation, intrinsics)
        for token, sensor_token, translation, rotation, intrinsics in tables.rows("calibrated_sensor", fields)
    }


def _sensor(channel: str, modality: str, translation: Any, rotation: Any, intrinsics: Any) -> Sensor:
    base_from_sensor = check_pose(_poses(np.array(translation), np.array(rotation)), f"the mounting of {channel}")
    matrix = np.array(intrinsics, np.float64).reshape(3, 3) if modality == "camera" else None
    return Sensor(channel, modality, base_from_sensor, matrix)


def _poses(translations: FloatArray, rotations_wxyz: FloatArray) -> FloatArray:
    """Poses (..., 4, 4) of translations (..., 3) and quaternions (..., 4) in nuScenes' order."""
    return pose(np.asarray(translations, np.float64), np.asarray(rotations_wxyz, np.float64)[..., [1, 2, 3, 0]])
