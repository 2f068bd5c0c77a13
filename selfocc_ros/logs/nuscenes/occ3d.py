# SPDX-License-Identifier: Apache-2.0
"""Occ3D's voxel labels of nuScenes as the truth folder beside a recording.

Occ3D (Tian et al., NeurIPS 2023): for each keyframe `gts/<scene>/<sample token>/labels.npz` with `semantics`,
`mask_lidar` and `mask_camera` (200, 200, 16) uint8, axes x, y, z, voxels of 0.4 m over (-40, -40, -1) .. (40, 40, 5.4)
in the vehicle frame at the keyframe's stamp, which is that of the LiDAR. Classes are nuScenes-lidarseg's 16 after
`others`; 17 is free.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import OCC3D
from selfocc_ros.logs.labels import NPZ_ERRORS, LabelNames, save_label_names, write_voxels
from selfocc_ros.logs.nuscenes.scenes import Scene
from selfocc_ros.logs.nuscenes.tables import NuScenesError

CLASSES = (
    "others", "barrier", "bicycle", "bus", "car", "construction_vehicle", "motorcycle", "pedestrian", "traffic_cone",
    "trailer", "truck", "driveable_surface", "other_flat", "sidewalk", "terrain", "manmade", "vegetation",
)  # fmt: skip
FREE = 17
MASKS = ("mask_camera", "mask_lidar")


def label_files(scene: Scene, occ3d: Path) -> dict[int, Path]:
    """Label files of a scene by the stamps (ns) of their keyframes.

    Args:
        scene: of which.
        occ3d: Occ3D's folder, with gts/ in it, or gts/ itself.

    Raises:
        NuScenesError: some are missing; tells how many and the first.
    """
    folder = occ3d / "gts" if (occ3d / "gts").is_dir() else occ3d
    files = {
        stamp_us * 1000: folder / scene.entry.name / token / "labels.npz" for stamp_us, token in scene.samples.items()
    }
    missing = [file for file in files.values() if not file.is_file()]
    if missing:
        raise NuScenesError(
            f"{scene.entry.name}: {len(missing)} of {len(files)} label files of Occ3D are missing, the first is "
            f"{missing[0]}"
        )
    return files


def write_truth(files: dict[int, Path], out: Path) -> int:
    """Write a truth folder (`labels.yaml`, `voxels/<stamp in ns>.npz`); returns the number of grids.

    Files appear under their names only when they are whole, and `labels.yaml` after all others.

    Raises:
        NuScenesError: a label file is damaged.
    """
    for stamp_ns, file in files.items():
        arrays = _read(file)
        masks = {name: arrays[name] for name in MASKS}
        write_voxels(out / "voxels" / f"{stamp_ns}.npz", arrays["semantics"], masks)
    save_label_names(out, LabelNames(CLASSES, FREE, OCC3D))
    return len(files)


def _read(file: Path) -> dict[str, NDArray[np.uint8]]:
    """`semantics`, `mask_camera` and `mask_lidar`, each (200, 200, 16) uint8."""
    try:
        with np.load(file) as stored:
            arrays = {name: stored[name] for name in ("semantics", *MASKS)}
    except (KeyError, *NPZ_ERRORS) as error:
        raise NuScenesError(f"{file} is damaged ({error}): expected semantics, mask_camera and mask_lidar") from error
    for name, array in arrays.items():
        if array.shape != OCC3D.shape:
            raise NuScenesError(f"{file} is damaged: {name} has the shape {array.shape}, expected {OCC3D.shape}")
    lowest, highest = arrays["semantics"].min(), arrays["semantics"].max()
    if lowest < 0 or highest > FREE:
        raise NuScenesError(f"{file} is damaged: its labels are {lowest} to {highest}, expected 0 to {FREE}")
    return {name: array.astype(np.uint8) for name, array in arrays.items()}
