# SPDX-License-Identifier: Apache-2.0
"""KITTI's raw drives, synchronised and rectified: 2011_09_26/2011_09_26_drive_0001_sync and the day's calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.poses import invert
from selfocc_ros.logs.kitti.drive import (
    CAMERAS,
    KittiCamera,
    KittiDrive,
    base_from_velodyne,
    camera_geometry,
    from_first,
    rigid,
)
from selfocc_ros.logs.kitti.files import (
    Calibration,
    KittiError,
    all_files,
    calibration_entry,
    increasing,
    numbered_files,
    read_calibration,
    read_table,
    read_timestamps,
)
from selfocc_ros.logs.kitti.oxts import VALUES, cover, poses_from_oxts

_DIGITS = 10


def open_raw_drive(dataroot: Path, drive: str) -> KittiDrive:
    """Find a drive's files and read its calibration, timestamps and poses.

    Args:
        dataroot: the folder that holds the days, or one day's folder.
        drive: such as 2011_09_26_drive_0001_sync; _sync may be left out.

    Raises:
        KittiError: something is missing or damaged, or the drive is not synchronised and rectified.
    """
    folder = _find(dataroot, drive)
    day = folder.parent
    velodyne_from_imu = _registration(day / "calib_imu_to_velo.txt")
    path = day / "calib_cam_to_cam.txt"
    calibration = read_calibration(path)
    rectification = calibration_entry(calibration, "R_rect_00", (3, 3), path)
    rectified_from_camera = rigid(rectification, np.zeros(3), f"{path}: R_rect_00")
    rectified_from_velodyne = rectified_from_camera @ _registration(day / "calib_velo_to_cam.txt")
    base_from_rectified = base_from_velodyne() @ invert(rectified_from_velodyne)
    cameras = _cameras(folder, calibration, path, base_from_rectified)
    scans, missing = _scans(folder / "velodyne_points")
    stamps, world_from_imu = _poses(folder / "oxts")
    taken = [camera.stamps_ns for camera in cameras]
    first, last = min(stamps[0] for stamps in taken), max(stamps[-1] for stamps in taken)
    imu_from_base = invert(base_from_velodyne() @ velodyne_from_imu)
    covered, world_from_base = cover(stamps, world_from_imu @ imu_from_base, first, last)
    return KittiDrive(
        name=folder.name,
        source="raw",
        cameras=cameras,
        pose_stamps_ns=tuple(covered),
        odom_from_base=from_first(world_from_base),
        scans=scans,
        missing_scans=missing,
        poses_from=folder / "oxts",
    )


def _find(dataroot: Path, drive: str) -> Path:
    name = drive if drive.endswith(("_sync", "_extract")) else f"{drive}_sync"
    if name.endswith("_extract"):
        raise KittiError(f"drive {drive} is neither synchronised nor rectified, expected one that ends in _sync")
    for folder in (dataroot / name[:10] / name, dataroot / name):
        if folder.is_dir():
            return folder
    there = sorted({path.name for pattern in ("*_sync/", "*/*_sync/") for path in dataroot.glob(pattern)})
    raise KittiError(f"{dataroot} has no drive {name}, found {', '.join(there) or 'none'}")


def _registration(path: Path) -> NDArray[np.float64]:
    """Transform (4,4) of a calibration file with R and T."""
    calibration = read_calibration(path)
    rotation = calibration_entry(calibration, "R", (3, 3), path)
    return rigid(rotation, calibration_entry(calibration, "T", (3,), path), f"{path}: R")


def _cameras(
    folder: Path, calibration: Calibration, path: Path, base_from_rectified: NDArray[np.float64]
) -> tuple[KittiCamera, ...]:
    geometry = camera_geometry(calibration, "P_rect_{:02d}", path, base_from_rectified)
    cameras = []
    for name, number in CAMERAS.items():
        place = folder / f"image_{number:02d}"
        if place.is_dir():
            stamps = increasing(read_timestamps(place / "timestamps.txt"), place / "timestamps.txt")
            images = all_files(place / "data", len(stamps), _DIGITS, ".png")
            width, height = calibration_entry(calibration, f"S_rect_{number:02d}", (2,), path)
            cameras.append(KittiCamera(name, *geometry[name], (int(width), int(height)), stamps, images))
    if not cameras:
        raise KittiError(f"{folder} has neither image_02 nor image_03, the colour images")
    return tuple(cameras)


def _scans(folder: Path) -> tuple[tuple[tuple[int, Path], ...], tuple[str, ...]]:
    """Scans with the time at which the scanner faced forward, and the names of those missing.

    KITTI itself lacks some, so that missing ones are no error.
    """
    if not folder.is_dir():
        return (), ()
    stamps = read_timestamps(folder / "timestamps.txt")
    files = numbered_files(folder / "data", range(len(stamps)), _DIGITS, ".bin")
    scans = [(stamp, files[number]) for number, stamp in enumerate(stamps) if stamp is not None and number in files]
    missing = [f"{number:010d}.bin" for number in range(len(stamps)) if number not in files]
    return tuple(sorted(scans)), tuple(missing)


def _poses(folder: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Stamps and poses (N,4,4) of the inertial unit; records that repeat or go back in time are left out."""
    stamps = read_timestamps(folder / "timestamps.txt")
    files = all_files(folder / "data", len(stamps), _DIGITS, ".txt")
    kept: list[tuple[int, NDArray[np.float64]]] = []
    for stamp, file in zip(stamps, files, strict=True):
        if stamp is not None and (not kept or stamp > kept[-1][0]):
            record = read_table(file, VALUES)
            if len(record) != 1:
                raise KittiError(f"{file} is damaged: it has {len(record)} lines, expected 1")
            kept.append((stamp, record[0]))
    if not kept:
        raise KittiError(f"{folder} has no record")
    return tuple(stamp for stamp, _ in kept), poses_from_oxts(np.stack([record for _, record in kept]))
