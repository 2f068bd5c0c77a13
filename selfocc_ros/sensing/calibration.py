# SPDX-License-Identifier: Apache-2.0
"""Calibrations that come from a file: intrinsics in place of a CameraInfo, mountings in place of a transform.

A calibration file maps names of cameras to what is known of them:

    cameras:
      front:
        intrinsics: {width: 1600, height: 900, k: [1266, 0, 816, 0, 1266, 491, 0, 0, 1]}
        extrinsics: {translation: [1.70, 0.02, 1.51], rpy: [0.0, 0.0, 0.0], axes: body}
      left:
        intrinsics: left.yaml          # as ROS' camera_calibration writes it, seen from this file

A file of camera_calibration itself does as well, for the one camera that it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.configuration import ConfigError, from_mapping, nearest_hint, read_yaml
from selfocc_ros.geometry.cameras import CalibrationError, CameraModel
from selfocc_ros.geometry.poses import (
    PoseError,
    body_from_optical,
    check_pose,
    matrix_to_quaternion,
    pose,
    pose_from_rpy,
)
from selfocc_ros.sensing.frames import camera_from_info

_ROTATIONS = {"quaternion": 4, "rpy": 3}
_AXES = ("optical", "body")


@dataclass(frozen=True)
class Intrinsics:
    """Calibration of a camera that has no CameraInfo.

    Attributes:
        width, height: of the images as they are sent.
        k: the 9 numbers of K, row by row.
        model, d: lens and its coefficients, as in CameraInfo.
        p: the 12 numbers of P, which hold where images are rectified; empty where that is not known.
    """

    width: int
    height: int
    k: tuple[float, ...]
    model: str = "pinhole"
    d: tuple[float, ...] = ()
    p: tuple[float, ...] = ()

    def camera(self, rectified: bool = False) -> CameraModel:
        """The camera; where images are rectified, that of P if it is known.

        Raises:
            CalibrationError: these are no intrinsics.
        """
        info = SimpleNamespace(
            width=self.width, height=self.height, k=self.k, d=self.d, p=self.p, distortion_model=self.model
        )
        return camera_from_info(info, rectified and bool(self.p))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return {key: value for key, value in asdict(self).items() if key != "p" or value}


@dataclass(frozen=True)
class Extrinsics:
    """Mounting of a camera that has no transform: its optical frame (z forward, x right) in the base frame.

    Attributes:
        translation: x, y, z in metres.
        quaternion: x, y, z, w.
    """

    translation: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]

    def base_from_camera(self) -> NDArray[np.float64]:
        """The pose (4,4).

        Raises:
            PoseError: the quaternion is none.
        """
        return pose(self.translation, self.quaternion)


@dataclass(frozen=True)
class CameraCalibration:
    """What a file knows of one camera; None where it leaves that to CameraInfo or /tf."""

    intrinsics: Intrinsics | None = None
    extrinsics: Extrinsics | None = None


def read_calibrations(path: Path) -> dict[str, CameraCalibration]:
    """The calibrations of a file, by camera.

    Raises:
        ConfigError: the file is missing or wrong; one sentence that names file, camera and key.
    """
    values = read_yaml(path)
    where = str(path)
    if "camera_matrix" in values:
        name = values.get("camera_name")
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{where}: key 'camera_name' must say which camera this is, found {name!r}.")
        return {name: CameraCalibration(parse_intrinsics(values, where, path.parent))}
    cameras = values.get("cameras")
    unknown = set(values) - {"cameras"}
    if unknown:
        key = sorted(map(str, unknown))[0]
        raise ConfigError(f"{where}: unknown key {key!r}{nearest_hint(key, ['cameras', 'camera_matrix'])}.")
    if not isinstance(cameras, Mapping) or not cameras:
        raise ConfigError(f"{where}: key 'cameras' must map camera names to calibrations, found {cameras!r}.")
    return {
        str(name): _parse_camera(entry, f"{where}: camera {name!r}", path.parent) for name, entry in cameras.items()
    }


def _parse_camera(entry: Any, where: str, folder: Path) -> CameraCalibration:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} must have 'intrinsics', 'extrinsics' or both, found {entry!r}.")
    for key in entry:
        if key not in ("intrinsics", "extrinsics"):
            raise ConfigError(f"{where}: unknown key {key!r}{nearest_hint(str(key), ['intrinsics', 'extrinsics'])}.")
    if not entry:
        raise ConfigError(f"{where} must have 'intrinsics', 'extrinsics' or both, found neither.")
    intrinsics, extrinsics = entry.get("intrinsics"), entry.get("extrinsics")
    return CameraCalibration(
        None if intrinsics is None else parse_intrinsics(intrinsics, f"{where}: intrinsics", folder),
        None if extrinsics is None else parse_extrinsics(extrinsics, f"{where}: extrinsics"),
    )


def parse_intrinsics(values: Any, where: str, folder: Path) -> Intrinsics:
    """Intrinsics of a YAML value: our keys, those of camera_calibration, or the name of a file with the latter.

    Args:
        where: names the place in error messages.
        folder: where relative names of files are looked up.

    Raises:
        ConfigError: they cannot be used.
    """
    if isinstance(values, str):
        path = folder / values
        return parse_intrinsics(read_yaml(path), str(path), path.parent)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a mapping or the name of a file, found {values!r}.")
    if "camera_matrix" in values:
        values = _of_camera_calibration(values, where)
    intrinsics = from_mapping(Intrinsics, values, where)
    try:
        for rectified in (False, True):
            intrinsics.camera(rectified)
    except CalibrationError as error:
        raise ConfigError(f"{where}: {error}.") from error
    return intrinsics


def _of_camera_calibration(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Our keys for those that ROS' camera_calibration and camera_info_manager write."""
    for key in ("image_width", "image_height"):
        if key not in values:
            raise ConfigError(f"{where}: key {key!r} is missing.")
    return {
        "width": values["image_width"],
        "height": values["image_height"],
        "k": _matrix(values, "camera_matrix", where),
        "model": values.get("distortion_model", "plumb_bob"),
        "d": _matrix(values, "distortion_coefficients", where) if "distortion_coefficients" in values else [],
        "p": _matrix(values, "projection_matrix", where) if "projection_matrix" in values else [],
    }


def _matrix(values: Mapping[str, Any], key: str, where: str) -> list[Any]:
    matrix = values[key]
    data = matrix.get("data") if isinstance(matrix, Mapping) else matrix
    if not isinstance(data, list):
        raise ConfigError(f"{where}: key {key!r} must have a list 'data' of numbers, found {matrix!r}.")
    return data


def parse_extrinsics(values: Any, where: str) -> Extrinsics:
    """A mounting of a YAML value.

    `translation` [x, y, z] and `quaternion` [x, y, z, w] or `rpy` [roll, pitch, yaw] (radians, about fixed axes, as
    static_transform_publisher takes them), or `matrix` (4x4): base_link from the camera. `axes: body` says that these
    turn axes of x forward and z up, as one measures a mounting, and not the optical ones.

    Raises:
        ConfigError: it is no mounting.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a mapping, found {values!r}.")
    known = ["translation", *_ROTATIONS, "matrix", "axes"]
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{nearest_hint(str(key), known)}.")
    axes = values.get("axes", "optical")
    if axes not in _AXES:
        raise ConfigError(f"{where}: axes must be 'optical' or 'body', found {axes!r}.")
    try:
        base_from_camera = _mounting(values, where)
    except PoseError as error:
        raise ConfigError(f"{where}: {error}.") from error
    if axes == "optical" and "quaternion" in values:
        q = values["quaternion"]  # kept as it is written
        return Extrinsics(_triple(base_from_camera[:3, 3]), (float(q[0]), float(q[1]), float(q[2]), float(q[3])))
    if axes == "body":
        base_from_camera = base_from_camera @ body_from_optical()
    x, y, z, w = (float(v) for v in matrix_to_quaternion(base_from_camera[:3, :3]))
    return Extrinsics(_triple(base_from_camera[:3, 3]), (x, y, z, w))


def _mounting(values: Mapping[str, Any], where: str) -> NDArray[np.float64]:
    if "matrix" in values:
        if {"translation", *_ROTATIONS} & set(values):
            raise ConfigError(f"{where}: 'matrix' says everything: remove the other keys beside it.")
        rows = values["matrix"]
        flat = [n for row in rows for n in (row if isinstance(row, list) else [row])] if isinstance(rows, list) else []
        return check_pose(np.array(_numbers(flat, 16, f"{where}: matrix")).reshape(4, 4), "matrix")
    rotations = [key for key in _ROTATIONS if key in values]
    if "translation" not in values or len(rotations) != 1:
        raise ConfigError(f"{where} needs 'translation' and one of 'quaternion' and 'rpy', or 'matrix' (4x4).")
    translation = _numbers(values["translation"], 3, f"{where}: translation")
    rotation = _numbers(values[rotations[0]], _ROTATIONS[rotations[0]], f"{where}: {rotations[0]}")
    if rotations[0] == "rpy":
        return pose_from_rpy(translation, *rotation)
    return pose(translation, rotation)


def _numbers(values: Any, count: int, where: str) -> list[float]:
    right = isinstance(values, Sequence) and not isinstance(values, str) and len(values) == count
    if not right or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        raise ConfigError(f"{where} must be {count} numbers, found {values!r}.")
    if not np.all(np.isfinite(values)):
        raise ConfigError(f"{where} holds NaN or infinity: {values!r}.")
    return [float(v) for v in values]


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
