# SPDX-License-Identifier: Apache-2.0
"""Files of labels beside recordings, and in datasets: what labels mean, voxels, class maps and depth maps.

Tools write them with this module and datasets read them (``selfocc_training.dataset.labels``); docs/dataset.md
describes the files.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.logs.whole import write_whole

UNKNOWN = 255
"""Label of what is not known, in voxels and in class maps."""

DEPTH_UNIT = 256.0
"""Depth PNGs hold metres times this, as KITTI's do; 0 is unknown."""

LABELS_FILE = "labels.yaml"

NPZ_ERRORS = (OSError, ValueError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)
"""What np.load, and arrays that it hands out, raise on a file that is no `.npz`, or a damaged one."""


@dataclass(frozen=True)
class LabelNames:
    """What labels mean; the content of ``labels.yaml``.

    Attributes:
        classes: names; the index is the label.
        free: label of free space in voxels, and of what has no surface (sky) in class maps.
        grid: of the voxels, in the base frame; None where there are none.
    """

    classes: tuple[str, ...]
    free: int
    grid: VoxelGrid | None = None

    def known(self) -> NDArray[np.bool_]:
        """(256), which labels may occur; unknown is one of them."""
        known = np.zeros(256, np.bool_)
        known[: len(self.classes)] = True
        known[[self.free, UNKNOWN]] = True
        return known


def save_label_names(folder: Path, names: LabelNames) -> None:
    """Write ``labels.yaml``; it appears whole or not at all."""
    values: dict[str, Any] = {"classes": list(names.classes), "free": names.free}
    if names.grid is not None:
        size = round(float(names.grid.cell[0]), 9)
        values["grid"] = {"lower": list(names.grid.lower), "cells": list(names.grid.shape), "voxel_size": size}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / LABELS_FILE, yaml.safe_dump(values, sort_keys=False))


def write_voxels(
    path: Path,
    label: NDArray[np.uint8],
    masks: Mapping[str, NDArray[Any]] | None = None,
    sample_from_labels: NDArray[np.float64] | None = None,
) -> None:
    """Write a voxel file; it appears whole or not at all.

    Args:
        label: (X, Y, Z).
        masks: (X, Y, Z) by name: ``mask_camera``, ``mask_lidar``, ``above_ground``.
        sample_from_labels: (4, 4), where the voxels belong to another stamp than the sample's: their frame in the base
            frame at the sample's stamp.
    """
    arrays: dict[str, Any] = {"label": label, **{name: mask.astype(np.bool_) for name, mask in (masks or {}).items()}}
    if sample_from_labels is not None:
        arrays["sample_from_labels"] = sample_from_labels
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.part.npz")
    np.savez_compressed(part, **arrays)
    part.replace(path)


def write_picture(path: Path, pixels: NDArray[Any]) -> None:
    """Write pixels (H, W) of uint8 or uint16 as PNG; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.part.png")
    if not cv2.imwrite(str(part), pixels):
        raise OSError(f"{part} cannot be written")
    part.replace(path)


def depth_pixels(depth_m: NDArray[Any]) -> NDArray[np.uint16]:
    """(H, W) pixels of a depth PNG; what is not positive, not finite or 256 m and more away is unknown."""
    known = np.isfinite(depth_m) & (depth_m > 0.0)
    scaled = np.rint(np.where(known, depth_m, 0.0).astype(np.float64) * DEPTH_UNIT)
    return np.where(scaled <= 65535.0, scaled, 0.0).astype(np.uint16)
