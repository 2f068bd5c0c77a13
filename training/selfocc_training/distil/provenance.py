# SPDX-License-Identifier: Apache-2.0
"""What made the labels in a folder: ``distilled.yaml`` beside ``labels.yaml``, and whether to go on with them."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import yaml

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.logs.whole import write_whole
from selfocc_training.dataset.labels import LABELS_FILE, LabelNames, load_label_names, save_label_names
from selfocc_training.distil.config import FusionConfig
from selfocc_training.distil.labels import CLASSES, FREE

PROVENANCE_FILE = "distilled.yaml"
VOXELS = ".voxels.npz"
"""How files of a clip's labels end."""


class DistilError(SelfOccError, ValueError):
    """Labels cannot be made, or not be written where they are asked for."""


def label_names(grid: VoxelGrid) -> LabelNames:
    """What distilled labels mean, over ``grid`` in base_link.

    Raises:
        DistilError: the voxels are no cubes, which labels have to be.
    """
    edges = grid.cell
    if abs(edges - edges[0]).max() > 1e-6:
        raise DistilError(f"labels are cubes, but this network's voxels are of {edges.round(3).tolist()} m")
    return LabelNames(CLASSES, FREE, grid)


def provenance(checkpoint: Path, config: FusionConfig, ground_z: float, version: str) -> dict[str, Any]:
    """What labels follow from beside images and poses: checkpoint (by the hash of its file) and parameters."""
    fingerprint = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:16]
    made_by = {"checkpoint": checkpoint.name, "fingerprint": fingerprint, "version": version, "ground_z": ground_z}
    return {**made_by, **dataclasses.asdict(config)}


def claim(folder: Path, names: LabelNames, made_by: dict[str, Any], overwrite: bool) -> bool:
    """Take ``folder`` for labels of this provenance; returns whether those that lie there are to be kept.

    Labels of the same provenance are gone on with. Others stop the work, unless they are distilled as well and
    ``overwrite`` says that they may go: all of them do, of every split, before the first new one is made.

    Raises:
        DistilError: the folder holds other labels.
        DatasetError: its ``labels.yaml`` is wrong.
    """
    path = folder / PROVENANCE_FILE
    found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    if found is None and load_label_names(folder) is not None:
        raise DistilError(f"{folder / LABELS_FILE} is of labels that were not distilled: use a copy of the data")
    same = found == made_by
    if found is not None and not same and not overwrite:
        raise DistilError(f"{folder} has labels of another checkpoint or other parameters; --overwrite replaces them")
    if not folder.is_dir():
        raise DistilError(f"{folder} is no folder")
    if found is not None and overwrite:
        # Before their provenance goes: wherever this is stopped, none passes for somebody else's.
        for stale in (*folder.glob(f"*{VOXELS}"), *folder.glob("voxels/*/*.npz")):
            stale.unlink()
    if not same:
        write_whole(path, yaml.safe_dump(made_by, sort_keys=False))
    save_label_names(folder, names)  # always, since a stop may have come before it
    return same and not overwrite


def teacher_of(folder: Path) -> str | None:
    """The checkpoint that the labels in a folder were distilled from, in words; None where none were.

    Raises:
        DistilError: what the folder says of it cannot be read.
    """
    path = folder / PROVENANCE_FILE
    if not path.is_file():
        return None
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        return f"{found['checkpoint']} {found['fingerprint']}"
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError) as error:
        raise DistilError(f"{path} does not say what made the labels beside it: {error!r}") from error


def told_by(folder: Path) -> str:
    """The checkpoint that the labels in a folder were distilled from, in words.

    Raises:
        DistilError: the folder has no distilled labels, or what it says of them cannot be read.
    """
    found = teacher_of(folder)
    if found is None:
        raise DistilError(f"{folder} has no distilled labels: `selfocc distil CHECKPOINT --clips {folder}` makes them")
    return found
