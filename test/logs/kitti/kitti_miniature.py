# SPDX-License-Identifier: Apache-2.0
"""A few frames in KITTI's own formats, with the calibration of odometry sequence 00 and images of a twentieth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.poses import invert, pose_from_rpy

FloatArray = NDArray[np.float64]

FRAMES = 5
SIZE = (62, 19)
DRIVE = "2011_09_26_drive_0001_sync"

# Rows 0 and 1 in pixels, of images 1241 wide.
P2 = np.array([[718.856, 0, 607.1928, 45.38225], [0, 718.856, 185.2157, -0.1130887], [0, 0, 1, 0.003779761]])
P3 = np.array([[718.856, 0, 607.1928, -337.2877], [0, 718.856, 185.2157, 2.369057], [0, 0, 1, 0.004915215]])
TR = np.array(
    [
        [4.276802385584e-04, -9.999672484946e-01, -8.084491683471e-03, -1.198459927713e-02],
        [-7.210626507497e-03, 8.081198471645e-03, -9.999413164504e-01, -5.403984729748e-02],
        [9.999738645903e-01, 4.859485810390e-04, -7.206933692422e-03, -2.921968648686e-01],
        [0, 0, 0, 1],
    ]
)
SCALE = np.diag([0.05, 0.05, 1.0])


def seconds(frame: int) -> float:
    """Times of KITTI: about 10 Hz."""
    return round(frame * 0.1037359, 7)


def camera0_pose(frame: int) -> FloatArray:
    """Rectified camera 0 in its own first frame: 1 m a frame in a bend to the right, slightly uphill."""
    yaw = 0.04 * frame
    forward, right = np.sin(yaw) / 0.04, (1.0 - np.cos(yaw)) / 0.04
    pose = pose_from_rpy((right, -0.01 * frame, forward), 0.0, yaw, 0.0)
    return np.asarray(pose)


def png(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    return bytes(cv2.imencode(".png", noise)[1])


def scan(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-20, 20, (50 + seed, 4)).astype("<f4")


def row(matrix: FloatArray) -> str:
    return " ".join(f"{value:.12e}" for value in matrix.reshape(-1))


def write_odometry(root: Path, sequence: str = "08", frames: int = FRAMES) -> Path:
    """Write a sequence; returns its folder."""
    folder = root / "sequences" / sequence
    for number, name in ((2, "image_2"), (3, "image_3")):
        _numbered(folder / name, frames, 6, ".png", lambda frame, number=number: png(10 * number + frame))
    _numbered(folder / "velodyne", frames, 6, ".bin", lambda frame: scan(frame).tobytes())
    entries = {"P0": SCALE @ P2 @ np.diag([1, 1, 1, 0.0]), "P2": SCALE @ P2, "P3": SCALE @ P3, "Tr": TR[:3]}
    (folder / "calib.txt").write_text("".join(f"{key}: {row(value)}\n" for key, value in entries.items()))
    (folder / "times.txt").write_text("".join(f"{seconds(frame):e}\n" for frame in range(frames)))
    poses = root / "poses" / f"{sequence}.txt"
    poses.parent.mkdir(exist_ok=True)
    poses.write_text("".join(row(camera0_pose(frame)[:3]) + "\n" for frame in range(frames)))
    return folder


def write_voxels(folder: Path, frame: int, raw: NDArray[np.uint16], invalid: NDArray, occluded: NDArray) -> None:
    """Write SemanticKITTI's files of one frame; arrays (256,256,32)."""
    voxels = folder / "voxels"
    voxels.mkdir(exist_ok=True)
    raw.astype("<u2").tofile(voxels / f"{frame:06d}.label")
    for suffix, bits in ((".bin", raw > 0), (".invalid", invalid), (".occluded", occluded)):
        np.packbits(bits).tofile(voxels / f"{frame:06d}{suffix}")


# The raw drive. Registrations are those of the odometry sequence, less the rectifying rotation.
RECTIFICATION = pose_from_rpy((0, 0, 0), 0.01, -0.007, 0.004)
VELODYNE_FROM_IMU = pose_from_rpy((-0.81, 0.32, -0.8), 0.002, -0.001, 0.015)
LATITUDE, LONGITUDE, RADIUS = 49.015, 8.434, 6378137.0


def imu_pose(frame: float) -> FloatArray:
    """The inertial unit, east north up, in metres from the first: 1 m a frame to the north-west, level but for 1 %."""
    return np.asarray(pose_from_rpy((-0.6 * frame, 0.8 * frame, 0.01 * frame), 0.003, -0.01, 2.2 + 0.02 * frame))


def oxts_record(frame: int) -> str:
    x, y, z = imu_pose(frame)[:3, 3]
    scale = RADIUS * np.cos(np.radians(LATITUDE))
    start = np.log(np.tan(np.pi / 4 + np.radians(LATITUDE) / 2))
    latitude = 2 * np.arctan(np.exp(start + y / scale)) - np.pi / 2
    values = [np.degrees(latitude), LONGITUDE + np.degrees(x / scale), 112.0 + z, 0.003, -0.01, 2.2 + 0.02 * frame]
    return " ".join(repr(float(value)) for value in values) + " 0" * 24 + "\n"


def stamp_text(frame: int, offset_ns: int) -> str:
    return f"2011-09-26 13:02:25.{964389445 - 9 * 10**8 + frame * 10**8 + offset_ns:09d}\n"


def write_raw(root: Path, frames: int = FRAMES) -> Path:
    """Write a drive and its day's calibration; returns the drive's folder."""
    day = root / DRIVE[:10]
    folder = day / DRIVE
    images = {"image_02": 0, "image_03": 130_000}
    for seed, (name, offset) in enumerate(images.items()):
        _numbered(folder / name / "data", frames, 10, ".png", lambda frame, seed=seed: png(100 * seed + frame))
        _stamps(folder / name, frames, offset)
    _numbered(folder / "velodyne_points" / "data", frames, 10, ".bin", lambda frame: scan(frame).tobytes())
    _stamps(folder / "velodyne_points", frames, -2_000_000)
    _numbered(folder / "oxts" / "data", frames, 10, ".txt", lambda frame: oxts_record(frame).encode())
    _stamps(folder / "oxts", frames, 4_000_000)
    camera_from_velodyne = invert(RECTIFICATION) @ TR
    entries = {"calib_time": "09-Jan-2012 13:57:47", "R_rect_00": row(RECTIFICATION[:3, :3])}
    for number, projection in ((2, P2), (3, P3)):
        entries[f"S_rect_{number:02d}"] = f"{SIZE[0]:e} {SIZE[1]:e}"
        entries[f"P_rect_{number:02d}"] = row(SCALE @ projection)
    _entries(day / "calib_cam_to_cam.txt", entries)
    for name, transform in (("velo_to_cam", camera_from_velodyne), ("imu_to_velo", VELODYNE_FROM_IMU)):
        values = {"calib_time": "25-May-2012 16:47:16", "R": row(transform[:3, :3]), "T": row(transform[:3, 3])}
        _entries(day / f"calib_{name}.txt", values)
    return folder


def _numbered(folder: Path, frames: int, digits: int, suffix: str, make: Callable[[int], bytes]) -> None:
    folder.mkdir(parents=True)
    for frame in range(frames):
        (folder / f"{frame:0{digits}d}{suffix}").write_bytes(make(frame))


def _stamps(folder: Path, frames: int, offset_ns: int) -> None:
    (folder / "timestamps.txt").write_text("".join(stamp_text(frame, offset_ns) for frame in range(frames)))


def _entries(path: Path, entries: dict[str, str]) -> None:
    path.write_text("".join(f"{key}: {value}\n" for key, value in entries.items()))
