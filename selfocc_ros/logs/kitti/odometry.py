# SPDX-License-Identifier: Apache-2.0
"""KITTI's odometry benchmark: sequences/NN with calib.txt, times.txt, image_2, image_3, velodyne; poses/NN.txt."""

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
    KittiError,
    all_files,
    calibration_entry,
    increasing,
    numbered_files,
    read_calibration,
    read_table,
)

EPOCH_NS = 1_316_995_200_000_000_000
"""2011-09-26 00:00:00 UTC, the first day of KITTI: times.txt counts seconds from the first frame, stamps from here."""

_DIGITS = 6


def open_sequence(dataroot: Path, sequence: str) -> KittiDrive:
    """Find a sequence's files and read its calibration, times and poses.

    Args:
        dataroot: the folder that holds `sequences` (or `dataset/sequences`, as the archives unpack).
        sequence: 00 to 21.

    Raises:
        KittiError: something is missing or damaged.
    """
    root = dataroot if (dataroot / "sequences").is_dir() else dataroot / "dataset"
    folder = root / "sequences" / sequence
    if not folder.is_dir():
        there = sorted(path.name for path in folder.parent.glob("*/"))
        raise KittiError(f"{dataroot} has no sequence {sequence}, found {', '.join(there) or 'none'}")
    seconds = read_table(folder / "times.txt", 1)[:, 0]
    stamps = increasing([EPOCH_NS + round(second * 1e9) for second in seconds], folder / "times.txt")
    path = folder / "calib.txt"
    calibration = read_calibration(path)
    tr = calibration_entry(calibration, "Tr", (3, 4), path)
    rectified_from_velodyne = rigid(tr[:, :3], tr[:, 3], f"{path}: Tr")
    base_from_rectified = base_from_velodyne() @ invert(rectified_from_velodyne)
    poses_from, world_from_rectified = _poses(root, folder, sequence, len(stamps))
    scans = numbered_files(folder / "velodyne", range(len(stamps)), _DIGITS, ".bin")
    missing = [f"{number:06d}.bin" for number in range(len(stamps)) if number not in scans]
    voxels = folder / "voxels"
    return KittiDrive(
        name=sequence,
        source="odometry",
        cameras=_cameras(folder, stamps, camera_geometry(calibration, "P{}", path, base_from_rectified)),
        pose_stamps_ns=stamps,
        odom_from_base=from_first(base_from_rectified @ world_from_rectified @ invert(base_from_rectified)),
        scans=tuple((stamps[number], file) for number, file in sorted(scans.items())),
        missing_scans=tuple(missing) if scans else (),
        poses_from=poses_from,
        voxels=(voxels, stamps) if voxels.is_dir() else None,
    )


def _poses(root: Path, folder: Path, sequence: str, count: int) -> tuple[Path, NDArray[np.float64]]:
    """Poses (N,4,4) of rectified camera 0 in its first frame: KITTI's, or SemanticKITTI's where KITTI has none."""
    path = root / "poses" / f"{sequence}.txt"
    if not path.exists():
        path = folder / "poses.txt"
    if not path.exists():
        raise KittiError(
            f"sequence {sequence} has no poses: neither {root / 'poses' / f'{sequence}.txt'} (KITTI has them for 00 "
            f"to 10) nor {path} (SemanticKITTI's) is there"
        )
    rows = read_table(path, 12)
    if len(rows) != count:
        raise KittiError(f"{path} has {len(rows)} poses, but {folder / 'times.txt'} has {count} times")
    poses = [
        rigid(pose[:, :3], pose[:, 3], f"{path}: line {number}")
        for number, pose in enumerate(rows.reshape(-1, 3, 4), start=1)
    ]
    return path, np.stack(poses)


def _cameras(
    folder: Path,
    stamps: tuple[int, ...],
    geometry: dict[str, tuple[NDArray[np.float64], float, NDArray[np.float64]]],
) -> tuple[KittiCamera, ...]:
    cameras = []
    for name, number in CAMERAS.items():
        images = folder / f"image_{number}"
        if images.is_dir():
            files = all_files(images, len(stamps), _DIGITS, ".png")
            cameras.append(KittiCamera(name, *geometry[name], None, stamps, files))
    if not cameras:
        raise KittiError(f"{folder} has neither image_2 nor image_3, the colour images")
    return tuple(cameras)
