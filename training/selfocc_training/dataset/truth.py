# SPDX-License-Identifier: Apache-2.0
"""Labels beside a recording, in either of the two forms that are understood; docs/dataset.md describes both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_training.dataset.labels import (
    LABELS_FILE,
    NPZ_ERRORS,
    LabelNames,
    load_label_names,
    read_arrays,
    read_class_map,
    read_depth_map,
)
from selfocc_training.dataset.parquet import DatasetError

Read = Callable[[tuple[int, int]], NDArray[Any]]
"""Reads the picture (H, W) of an image of a size (width, height)."""

MASKS = ("mask_camera", "mask_lidar", "above_ground")


@dataclass(frozen=True)
class Truth:
    """What lies in a truth folder; nothing but stamps has been read.

    Attributes:
        folder: where.
        names: what labels mean; None where there are depth maps alone.
        voxels: files by the stamp that their grid belongs to, ns.
        class_maps, depth_maps: by camera and stamp of the image.
        image_stamps: whether those stamps are the images' own; or else those of the voxels, near which images were
            taken.
        fingerprint: hash of the files' names, sizes and times: other labels have another one.
    """

    folder: Path
    names: LabelNames | None
    voxels: dict[int, Path]
    class_maps: dict[str, dict[int, Read]]
    depth_maps: dict[str, dict[int, Read]]
    image_stamps: bool
    fingerprint: str


def find_truth(bag: Path) -> Path | None:
    """The truth folder beside a recording, or None: ``X/truth`` of ``X/bag``, ``X_truth`` of ``X.mcap`` or ``X``."""
    name = bag.stem if bag.is_file() else bag.name
    folder = bag.parent / "truth" if bag.name == "bag" else bag.parent / f"{name}_truth"
    return folder if folder.is_dir() else None


def read_truth(folder: Path) -> Truth:
    """What a truth folder holds.

    Raises:
        DatasetError: it holds neither form.
    """
    if any((folder / name).exists() for name in (LABELS_FILE, "voxels", "classes", "depth")):
        return _folders(folder)
    frames = sorted(folder.glob("*.npz"))
    if not frames:
        raise DatasetError(
            f"{folder} holds no labels: expected {LABELS_FILE} with voxels/, classes/ or depth/, or .npz frames"
        )
    return _frames(folder, frames)


def read_frame_voxels(path: Path) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
    """Labels (X, Y, Z) of a voxel file of either form, and the masks that it has.

    Raises:
        DatasetError: it has no labels.
    """
    arrays = read_arrays(path)
    if "label" not in arrays:
        raise DatasetError(f"{path} has no array 'label', found {', '.join(arrays) or 'none'}")
    return arrays["label"], {name: arrays[name] for name in MASKS if name in arrays}


def _folders(folder: Path) -> Truth:
    """One file a grid and one PNG an image."""
    voxels = {}
    for path in sorted((folder / "voxels").glob("*.npz")):
        told = read_arrays(path, ("stamp_ns",)).get("stamp_ns")
        if told is not None and (told.size != 1 or told.dtype.kind not in "iu"):
            raise DatasetError(f"{path}: stamp_ns must be one integer, found {told.dtype} of {told.shape}")
        voxels[_stamp(path) if told is None else int(told.item())] = path
    pictures: dict[str, dict[str, dict[int, Read]]] = {}
    for kind, read in (("classes", read_class_map), ("depth", read_depth_map)):
        cameras = sorted(path for path in (folder / kind).glob("*") if path.is_dir())
        pictures[kind] = {
            camera.name: {_stamp(path): partial(read, path) for path in sorted(camera.glob("*.png"))}
            for camera in cameras
        }
    names = load_label_names(folder)
    if names is None and (voxels or pictures["classes"]):
        raise DatasetError(f"{folder} has labels, but no {LABELS_FILE} that says what they mean")
    files = [folder / LABELS_FILE] if names is not None else []
    files += [file for kind in ("voxels", "classes", "depth") for file in (folder / kind).rglob("*") if file.is_file()]
    return Truth(folder, names, voxels, pictures["classes"], pictures["depth"], True, _fingerprint(folder, files))


def _fingerprint(folder: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        found = path.stat()
        digest.update(f"{path.relative_to(folder)}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


def _stamp(path: Path) -> int:
    if not path.stem.isdecimal():
        raise DatasetError(f"{path} must be named after a stamp in nanoseconds")
    return int(path.stem)


def _frames(folder: Path, files: list[Path]) -> Truth:
    """One .npz a frame, with sparse depth for each camera."""
    voxels: dict[int, Path] = {}
    depth_maps: dict[str, dict[int, Read]] = {}
    names: LabelNames | None = None
    own_stamps = True
    for path in files:
        try:
            with np.load(path) as stored:
                stamp = int(stored["stamp_ns"])
                names = names or _frame_names(stored)
                own = "image_stamps_ns" in stored.files and "cameras" in stored.files
                own_stamps &= own
                pairs = zip(stored["cameras"].tolist(), stored["image_stamps_ns"].tolist(), strict=True) if own else ()
                stamps = dict(pairs)
                keys = [key for key in stored.files if key.startswith("depth_") and not key.endswith("_dynamic")]
        except (KeyError, *NPZ_ERRORS) as error:
            raise DatasetError(f"{path} is no frame of labels ({error}): it needs 'label' and 'stamp_ns'") from error
        voxels[stamp] = path
        for key in keys:
            camera = key.removeprefix("depth_")
            depth_maps.setdefault(camera, {})[int(stamps.get(camera, stamp))] = partial(_sparse_depth, path, key)
    return Truth(folder, names, voxels, {}, depth_maps, own_stamps, _fingerprint(folder, files))


def _frame_names(stored: Any) -> LabelNames:
    """What the labels of a frame mean: Occ3D's grid and 17 as free space where it does not say."""
    shape = stored["label"].shape
    lower = stored["lower"].tolist() if "lower" in stored.files else [-40.0, -40.0, -1.0]
    size = float(stored["voxel_size"]) if "voxel_size" in stored.files else 0.4
    upper = [round(low + count * size, 9) for low, count in zip(lower, shape, strict=True)]
    classes = [str(name) for name in stored["class_names"]] if "class_names" in stored.files else []
    free = classes.index("free") if "free" in classes else len(classes) or 17
    if classes[free:] == ["free"]:  # a name is found by its label, so only the last one may go
        del classes[free]
    classes = classes or [f"class_{label}" for label in range(free)]
    return LabelNames(tuple(classes), free, VoxelGrid(tuple(lower), tuple(upper), shape))


def _sparse_depth(path: Path, key: str, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) metres, 0 unknown, from (3, N) column, row and depth * 256; points that move are left out."""
    arrays = read_arrays(path)
    points = arrays[key].astype(np.int64)
    moving = arrays.get(f"{key}_dynamic")
    if moving is not None:
        points = points[:, moving == 0]
    width, height = size
    if points.size and (points[0].max() >= width or points[1].max() >= height):
        raise DatasetError(f"{path}: {key} has points beyond its image of {width}x{height}")
    depth = np.zeros((height, width), np.float32)
    depth[points[1], points[0]] = points[2] / 256.0
    return depth
