# SPDX-License-Identifier: Apache-2.0
"""A miniature of nuScenes in its own format: two seconds through a town, tables, images, clouds, Occ3D's labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import md5
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.poses import invert, matrix_to_quaternion, pose_from_rpy
from selfocc_ros.town.rigs import RigSpec, load_rig
from selfocc_ros.town.town import Town, View

START_US = 1_532_402_927_604_844
VERSION = "v1.0-mini"
SCENE = "scene-0061"
RATE_HZ, KEYFRAME_EVERY = 10, 5
SIZE = (48, 27)
FREE = 17

# Microseconds from the first camera of a round to each sensor: the ring of nuScenes' first sample.
OFFSETS_US = {
    "CAM_FRONT_LEFT": 0, "CAM_FRONT": 7_616, "CAM_FRONT_RIGHT": 15_495, "CAM_BACK_RIGHT": 23_049, "CAM_BACK": 32_681,
    "CAM_BACK_LEFT": 42_579, "LIDAR_TOP": 43_107, "RADAR_FRONT": 51_030,
}  # fmt: skip
MAP_FROM_ODOM = pose_from_rpy((411.3, 1180.9, 0.0), 0.0, 0.0, -1.9)
BASE_FROM_LIDAR = pose_from_rpy((0.94, 0.0, 1.84), 0.0, 0.0, -np.pi / 2)
BASE_FROM_RADAR = pose_from_rpy((3.4, 0.0, 0.5), 0.0, 0.0, 0.0)


@dataclass
class _Tables:
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, table: str, what: str, **fields: Any) -> str:
        token = md5(f"{table} {what}".encode()).hexdigest()
        self.tables.setdefault(table, []).append({"token": token, **fields})
        return token

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for table, records in self.tables.items():
            (folder / f"{table}.json").write_text(json.dumps(records, indent=0), encoding="utf-8")


@dataclass(frozen=True)
class _Round:
    """What all sensors saw in one turn: JPEG bytes or points by channel, and the vehicle at each sensor's stamp."""

    data: dict[str, bytes]
    map_from_base: dict[str, NDArray[np.float64]]


@cache
def _rig() -> dict[str, Any]:
    values = load_rig("surround6").to_dict()
    width, height = SIZE
    values["cameras"] = {name: {**c, "width": width, "height": height} for name, c in values["cameras"].items()}
    return {f"CAM_{name.upper()}": camera for name, camera in RigSpec.from_dict(values).cameras}


@cache
def _rounds(count: int) -> tuple[_Round, ...]:
    town = Town(3, seconds=3.0)
    pictures: dict[str, View] = {}
    return tuple(_round(town, k, pictures) for k in range(count))


def _round(town: Town, k: int, pictures: dict[str, View]) -> _Round:
    """Keyframes are rendered; sweeps show the keyframe before, each a little darker: a fifth of the time."""
    data, poses = {}, {}
    begin_s, since = k / RATE_HZ, k % KEYFRAME_EVERY
    for channel, offset_us in OFFSETS_US.items():
        t = begin_s + offset_us * 1e-6
        odom_from_base = town.drive.odom_from_base(t)
        poses[channel] = MAP_FROM_ODOM @ odom_from_base
        if channel in _rig():
            camera, base_from_camera = _rig()[channel].camera(), _rig()[channel].base_from_camera()
            if not since:
                pictures[channel] = town.render(camera, odom_from_base @ base_from_camera, t)
            view = pictures[channel]
            pixels = (view.image[..., ::-1] * (1.0 - 0.05 * since)).astype(np.uint8)
            data[channel] = cv2.imencode(".jpg", pixels)[1].tobytes()
            if channel == "CAM_FRONT":
                data["LIDAR_TOP"] = _points(camera.pixel_rays(), view.depth, base_from_camera)
    return _Round(data, poses)


def _points(rays: NDArray[np.float64], depth: NDArray[np.float32], base_from_camera: NDArray[np.float64]) -> bytes:
    """What the LiDAR would see of the front camera's view: x, y, z, intensity, ring."""
    hit = np.isfinite(depth) & (depth > 0)
    seen = (rays / rays[..., 2:] * depth[..., None])[hit]
    lidar_from_camera = invert(BASE_FROM_LIDAR) @ base_from_camera
    points = np.zeros((len(seen), 5), np.float32)
    points[:, :3] = seen @ lidar_from_camera[:3, :3].T + lidar_from_camera[:3, 3]
    points[:, 3] = np.arange(len(seen)) % 256
    points[:, 4] = np.arange(len(seen)) % 32
    return points.tobytes()


def write_miniature(
    root: Path, seconds: float = 2.0, scenes: Sequence[str] = (SCENE,), occ3d: Path | None = None
) -> Path:
    """Write `root/v1.0-mini/*.json`, `root/samples` and `root/sweeps`, and `occ3d/gts`; returns `root`.

    All scenes show the same drive, a minute apart.
    """
    tables = _Tables()
    log = tables.add("log", "log", logfile="n015", vehicle="n015", date_captured="2018-07-24", location="town")
    sensors = {}
    for channel in OFFSETS_US:
        kind = {"CAM": "camera", "LIDAR": "lidar", "RADAR": "radar"}[channel.partition("_")[0]]
        sensors[channel] = tables.add("sensor", channel, channel=channel, modality=kind)
    for number, scene in enumerate(scenes):
        _add_scene(tables, root, occ3d, scene, START_US + number * 60_000_000, seconds, sensors, log)
    tables.write(root / VERSION)
    return root


def _add_scene(
    tables: _Tables, root: Path, occ3d: Path | None, scene: str, start_us: int, seconds: float,
    sensors: dict[str, str], log: str,
) -> None:  # fmt: skip
    rounds = _rounds(round(seconds * RATE_HZ))
    # Sweeps belong to the keyframe after them, the last ones to the last keyframe.
    keyframes = list(range(0, len(rounds), KEYFRAME_EVERY))
    token = md5(f"scene {scene}".encode()).hexdigest()
    samples = {
        k: tables.add("sample", f"{scene} {k}", timestamp=_stamp(start_us, k, "LIDAR_TOP"), scene_token=token)
        for k in keyframes
    }
    tables.add(
        "scene", scene, log_token=log, nbr_samples=len(samples), first_sample_token=samples[keyframes[0]],
        last_sample_token=samples[keyframes[-1]], name=scene, description="Town, turn left",
    )  # fmt: skip
    for channel, sensor in sensors.items():
        camera = _rig().get(channel)
        base_from_radar = BASE_FROM_LIDAR if channel == "LIDAR_TOP" else BASE_FROM_RADAR
        translation, rotation = _vectors(camera.base_from_camera() if camera else base_from_radar)
        calibrated = tables.add(
            "calibrated_sensor", f"{scene} {channel}", sensor_token=sensor, translation=translation, rotation=rotation,
            camera_intrinsic=camera.camera().matrix.tolist() if camera else [],
        )  # fmt: skip
        for k, seen in enumerate(rounds):
            stamp = _stamp(start_us, k, channel)
            suffix = {"C": ".jpg", "L": ".pcd.bin", "R": ".pcd"}[channel[0]]
            file = f"{'samples' if k in samples else 'sweeps'}/{channel}/n015__{channel}__{stamp}{suffix}"
            translation, rotation = _vectors(seen.map_from_base[channel])
            pose = tables.add(
                "ego_pose", f"{scene} {channel} {k}", timestamp=stamp, rotation=rotation, translation=translation
            )
            tables.add(
                "sample_data", f"{scene} {channel} {k}",
                sample_token=samples[next((key for key in keyframes if key >= k), keyframes[-1])],
                ego_pose_token=pose, calibrated_sensor_token=calibrated, timestamp=stamp,
                fileformat="jpg" if camera else "pcd", is_key_frame=k in samples,
                height=SIZE[1] if camera else 0, width=SIZE[0] if camera else 0, filename=file, prev="", next="",
            )  # fmt: skip
            if channel in seen.data:
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_bytes(seen.data[channel])
    if occ3d is not None:
        for number, sample in enumerate(samples.values()):
            _write_labels(occ3d / "gts" / scene / sample, number)


def _write_labels(folder: Path, number: int) -> None:
    rng = np.random.default_rng(number)
    semantics = np.full((200, 200, 16), FREE, np.uint8)
    semantics[:, :, 2 + number] = rng.integers(0, FREE, (200, 200))
    seen = np.zeros((200, 200, 16), np.uint8)
    seen[20:, 10 + number : 150] = 1
    folder.mkdir(parents=True)
    np.savez(folder / "labels.npz", semantics=semantics, mask_lidar=seen, mask_camera=1 - seen)


def _stamp(start_us: int, k: int, channel: str) -> int:
    return start_us + k * (1_000_000 // RATE_HZ) + OFFSETS_US[channel]


def _vectors(matrix: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Translation and quaternion in nuScenes' order w, x, y, z."""
    x, y, z, w = matrix_to_quaternion(matrix[:3, :3]).tolist()
    return matrix[:3, 3].tolist(), [w, x, y, z]
