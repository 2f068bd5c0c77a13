# SPDX-License-Identifier: Apache-2.0
"""Distilled labels of training clips: ``<clip>.voxels.npz`` beside each clip's file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.sensing.preprocess import NetworkInput
from selfocc_training.distil.config import FusionConfig
from selfocc_training.distil.drive import Moment, fused_drive
from selfocc_training.distil.labels import FREE
from selfocc_training.distil.provenance import VOXELS, DistilError
from selfocc_training.distil.teacher import Teacher
from selfocc_training.town_clips import Clip, camera_rig, load_clip


def clip_files(folder: Path) -> list[Path]:
    """The clips in a folder, in order.

    Raises:
        DistilError: there is none.
    """
    found = sorted(p for p in folder.glob("clip_*.npz") if not p.name.endswith((VOXELS, ".part.npz")))
    if not found:
        raise DistilError(f"{folder} holds no clips: `selfocc train CONFIG --out OUT` renders them into OUT/clips")
    return found


def voxels_path(clip: Path) -> Path:
    """File of a clip's labels."""
    return clip.with_name(clip.stem + VOXELS)


def clip_moments(clip: Clip) -> list[Moment]:
    """The frames of a clip as moments of a drive."""
    steps = np.linalg.norm(np.diff(clip.odom_from_base[:, :3, 3], axis=0), axis=1)
    travelled = np.concatenate([[0.0], np.cumsum(steps)])

    def seen(frame: int) -> NetworkInput:
        return NetworkInput(np.ascontiguousarray(clip.images[frame].transpose(0, 2, 3, 1)), camera_rig(clip, frame))

    return [
        Moment(pose, float(at), lambda frame=frame: seen(frame))  # type: ignore[misc]
        for frame, (pose, at) in enumerate(zip(clip.odom_from_base, travelled, strict=True))
    ]


def distil_clip(teacher: Teacher, clip: Clip, config: FusionConfig) -> NDArray[np.uint8]:
    """(T, X, Y, Z) labels of every frame, over the network's grid.

    Raises:
        DistilError: the clip's images are not of the network's size.
    """
    size = teacher.config.input
    height, width = clip.images.shape[-2:]
    if (width, height) != (size.width, size.height):
        raise DistilError(
            f"network {teacher.config.name} takes images of {size.width}x{size.height} pixels, "
            f"the clip's are {width}x{height}"
        )
    fused = fused_drive(teacher, clip_moments(clip), config)
    return np.stack([teacher.labels(own, field, config) for _, own, field in fused])


def save_voxels(path: Path, voxels: NDArray[np.uint8], grid: VoxelGrid) -> None:
    """Write labels (T, X, Y, Z) with their grid in base_link, whole or not at all."""
    part = path.with_suffix(".part.npz")
    told = np.array([grid.lower, grid.upper, grid.shape], np.float64)
    np.savez_compressed(part, voxels=voxels, voxel_grid=told, voxel_free=np.array(FREE))
    part.replace(path)


def load_labelled_clip(path: Path) -> Clip:
    """A clip with the labels beside it.

    Raises:
        DistilError: it has none.
    """
    beside = voxels_path(path)
    if not beside.is_file():
        raise DistilError(f"{path} has no labels: `selfocc distil CHECKPOINT --clips {path.parent}` makes them")
    clip = load_clip(path)
    with np.load(beside) as stored:
        grid, free = VoxelGrid(*stored["voxel_grid"].tolist()), int(stored["voxel_free"])
        return dataclasses.replace(clip, voxels=stored["voxels"], voxel_grid=grid, voxel_free=free)
