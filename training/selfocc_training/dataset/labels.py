# SPDX-License-Identifier: Apache-2.0
"""Labels beside a dataset's images: voxels, class maps, depth maps, masks; the files, and how they are read.

All of them are optional and looked up by name, so that anybody may add such files to a prepared dataset: a segmentation
network its class maps, ``selfocc distil`` its voxels. docs/dataset.md describes the files.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.configuration import ConfigError, from_mapping, read_yaml
from selfocc_ros.geometry.voxels import GridError, VoxelGrid
from selfocc_ros.logs.labels import (
    DEPTH_UNIT,
    LABELS_FILE,
    NPZ_ERRORS,
    UNKNOWN,
    LabelNames,
    depth_pixels,
    save_label_names,
    write_picture,
    write_voxels,
)
from selfocc_training.dataset.parquet import DatasetError

__all__ = [
    "DEPTH_UNIT", "LABELS_FILE", "NPZ_ERRORS", "UNKNOWN", "LabelNames", "VoxelLabels", "depth_pixels",
    "load_label_names", "mask_path", "picture_path", "read_arrays", "read_class_map", "read_depth_map", "read_mask",
    "read_voxels", "save_label_names", "voxels_path", "write_picture", "write_voxels",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class VoxelLabels:
    """Voxels around the vehicle.

    Attributes:
        label: (X, Y, Z) uint8 class, ``free``, or 255 for unknown.
        grid: where the voxels are, in the frame that they belong to.
        classes, free: what labels mean.
        mask_camera, mask_lidar: (X, Y, Z) bool, voxels that the cameras, or the LiDAR, see; or None.
        above_ground: (X, Y, Z) bool, voxels whose lower face is more than 0.3 m above the ground; or None.
        base_from_labels: (4, 4), the frame of the voxels in the base frame at the sample's stamp; differs from the
            identity where they belong to another stamp.
    """

    label: NDArray[np.uint8]
    grid: VoxelGrid
    classes: tuple[str, ...]
    free: int
    mask_camera: NDArray[np.bool_] | None
    mask_lidar: NDArray[np.bool_] | None
    above_ground: NDArray[np.bool_] | None
    base_from_labels: NDArray[np.float64]

    def in_base(self) -> NDArray[np.uint8]:
        """(X, Y, Z) labels of the same grid in the base frame at the sample's stamp, 255 beyond the known voxels.

        Each voxel takes the label of the one that its centre lies in.
        """
        if np.allclose(self.base_from_labels, np.eye(4), atol=1e-9):
            return self.label
        labels_from_base = np.linalg.inv(self.base_from_labels)
        centres = self.grid.centres() @ labels_from_base[:3, :3].T + labels_from_base[:3, 3]
        index, inside = self.grid.index_of(centres)
        moved = np.full(self.grid.shape, UNKNOWN, np.uint8)
        moved[inside] = self.label[tuple(index[inside].T)]
        return moved


@dataclass(frozen=True)
class _Grid:
    """The entry ``grid`` of ``labels.yaml``."""

    lower: tuple[float, float, float]
    cells: tuple[int, int, int]
    voxel_size: float


@dataclass(frozen=True)
class _LabelsFile:
    classes: tuple[str, ...]
    free: int
    grid: _Grid | None = None


def voxels_path(root: Path, drive: str, stamp_ns: int) -> Path:
    """Voxel file of the sample at a stamp."""
    return root / "voxels" / drive / f"{stamp_ns}.npz"


def picture_path(root: Path, kind: str, drive: str, camera: str, stamp_ns: int) -> Path:
    """File of an image's class map (kind ``classes``) or depth map (``depth``), by the image's own stamp."""
    return root / kind / drive / camera / f"{stamp_ns}.png"


def mask_path(root: Path, camera: str) -> Path:
    """File of a camera's mask of its own vehicle."""
    return root / "masks" / f"{camera}.png"


def load_label_names(folder: Path) -> LabelNames | None:
    """``labels.yaml`` of a dataset or truth folder, or None where there is none.

    Raises:
        DatasetError: the file does not say what labels mean.
    """
    path = folder / LABELS_FILE
    if not path.is_file():
        return None
    try:
        found = from_mapping(_LabelsFile, read_yaml(path), str(path))
        grid = None
        if found.grid is not None:
            lower, cells, size = found.grid.lower, found.grid.cells, found.grid.voxel_size
            upper = tuple(round(low + count * size, 9) for low, count in zip(lower, cells, strict=True))
            grid = VoxelGrid(lower, (upper[0], upper[1], upper[2]), cells)
    except (ConfigError, GridError) as error:
        raise DatasetError(f"{path} does not say what labels mean: {error}") from error
    if not 0 <= found.free < UNKNOWN or not 0 < len(found.classes) < UNKNOWN:
        raise DatasetError(
            f"{path} needs 1 to 254 classes and a label of free space from 0 to 254, "
            f"found {len(found.classes)} and {found.free}"
        )
    return LabelNames(found.classes, found.free, grid)


def read_voxels(path: Path, names: LabelNames) -> VoxelLabels:
    """A voxel file.

    Raises:
        DatasetError: it is damaged, of another grid, or has labels that have no name.
    """
    if names.grid is None:
        raise DatasetError(f"{path} belongs to no grid: {LABELS_FILE} needs the key 'grid'")
    arrays = read_arrays(path)
    label = arrays.get("label")
    if label is None or label.shape != names.grid.shape or label.dtype != np.uint8:
        found = "none" if label is None else f"{label.dtype} of {label.shape}"
        raise DatasetError(f"{path} needs an array 'label' of uint8 {names.grid.shape}, found {found}")
    if not names.known()[label].all():
        worst = int(label[~names.known()[label]].max())
        raise DatasetError(f"{path} has the label {worst}, which {LABELS_FILE} has no class for")

    def mask(name: str) -> NDArray[np.bool_] | None:
        found = arrays.get(name)
        if found is not None and found.shape != label.shape:
            raise DatasetError(f"{path}: {name} is of {found.shape}, but the labels are of {label.shape}")
        return None if found is None else found != 0

    moved = np.asarray(arrays.get("sample_from_labels", np.eye(4)), np.float64)
    return VoxelLabels(
        label, names.grid, names.classes, names.free, mask("mask_camera"), mask("mask_lidar"), mask("above_ground"),
        moved,
    )  # fmt: skip


def read_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file: all, or those of the given names that it has.

    Raises:
        DatasetError: it is none.
    """
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files if names is None or name in names}
    except NPZ_ERRORS as error:
        raise DatasetError(f"{path} cannot be read as an .npz file ({error})") from error


def read_class_map(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) class of each pixel, 255 unknown, of an image of ``size`` (width, height).

    Raises:
        DatasetError: it is no such PNG.
    """
    return np.asarray(_picture(path, np.uint8, size), np.uint8)


def read_depth_map(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) depth along the optical axis in metres, 0 unknown, of an image of ``size`` (width, height).

    Raises:
        DatasetError: it is no such PNG.
    """
    return np.asarray(_picture(path, np.uint16, size).astype(np.float32) / DEPTH_UNIT, np.float32)


def read_mask(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.bool_]:
    """(H, W), True where a mask of the own vehicle (255 may be used, 0 own vehicle) lets pixels be used.

    Raises:
        DatasetError: it is no such image, or of another size (width, height).
    """
    return np.asarray(_picture(path, np.uint8, size) != 0, np.bool_)


def _picture(path: Path, dtype: type[np.generic], size: tuple[int, int] | None) -> NDArray[Any]:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    wanted = f"one channel of {np.dtype(dtype)}" + (f" of {size[0]}x{size[1]}" if size else "")
    if pixels is None:
        raise DatasetError(f"{path} cannot be read as an image: expected {wanted}")
    if pixels.ndim != 2 or pixels.dtype != dtype or (size is not None and pixels.shape != (size[1], size[0])):
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        found = f"{channels} of {pixels.dtype} of {pixels.shape[1]}x{pixels.shape[0]}"
        raise DatasetError(f"{path} must have {wanted}, found {found}")
    return np.asarray(pixels)
