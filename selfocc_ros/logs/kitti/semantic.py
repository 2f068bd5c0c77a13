# SPDX-License-Identifier: Apache-2.0
"""SemanticKITTI's voxels (Behley et al. 2019) as labels beside a recording.

256 x 256 x 32 cells of 0.2 m ahead of the laser scanner, in its frame: x 0 .. 51.2, y -25.6 .. 25.6, z -2 .. 4.4 m,
stored with z fastest and x slowest. `.label` has 16 bit per cell; `.invalid` and `.occluded` have one bit per cell,
the first cell in the highest bit of the first byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.logs.kitti.drive import VELODYNE_HEIGHT_M
from selfocc_ros.logs.kitti.files import KittiError
from selfocc_ros.logs.labels import UNKNOWN, LabelNames, save_label_names
from selfocc_ros.logs.labels import write_voxels as write_label_voxels

CELLS = (256, 256, 32)

GRID = VoxelGrid((0.0, -25.6, -2.0), (51.2, 25.6, 4.4), CELLS).shifted(VELODYNE_HEIGHT_M)
"""The voxels in base_link, whose axes are the scanner's."""

FREE = 0

CLASS_NAMES = (
    "empty", "car", "bicycle", "motorcycle", "truck", "other-vehicle", "person", "bicyclist", "motorcyclist", "road",
    "parking", "sidewalk", "other-ground", "building", "fence", "vegetation", "trunk", "terrain", "pole",
    "traffic-sign",
)  # fmt: skip

RAW_LABELS = {
    1: (10, 252), 2: (11,), 3: (15,), 4: (18, 258), 5: (13, 16, 20, 256, 257, 259), 6: (30, 254), 7: (31, 253),
    8: (32, 255), 9: (40, 60), 10: (44,), 11: (48,), 12: (49,), 13: (50,), 14: (51,), 15: (70,), 16: (71,), 17: (72,),
    18: (80,), 19: (81,),
}  # fmt: skip
"""The labels in the files by class: `learning_map` of semantic-kitti.yaml. Moving and standing things are one class,
buses and what runs on rails are other vehicles, lane markings are road."""


@dataclass(frozen=True, eq=False)
class SemanticVoxels:
    """The voxels of one scan.

    Attributes:
        label: (X,Y,Z) uint8 class, FREE or UNKNOWN.
        visible: (X,Y,Z) bool, not occluded from where this scan was taken; None where there is no such file.
    """

    label: NDArray[np.uint8]
    visible: NDArray[np.bool_] | None


def read_voxels(folder: Path, frame: str) -> SemanticVoxels:
    """The voxels `frame` (000000) of a sequence's folder.

    Unknown is what no scan of the drive has seen (`.invalid`), and what is occupied by something that belongs to none
    of the classes: outliers, other structures and objects. 0 is empty here, not unlabelled.

    Raises:
        KittiError: a file is missing or has the wrong size.
    """
    raw = np.frombuffer(_read(folder / f"{frame}.label", 2 * int(np.prod(CELLS))), np.dtype("<u2")).reshape(CELLS)
    label = _classes()[np.minimum(raw, 260)]
    label[unpack(folder / f"{frame}.invalid")] = UNKNOWN
    occluded = folder / f"{frame}.occluded"
    return SemanticVoxels(label, ~unpack(occluded) if occluded.exists() else None)


def unpack(path: Path) -> NDArray[np.bool_]:
    """The bits (X,Y,Z) of a packed file.

    Raises:
        KittiError: it is missing or has the wrong size.
    """
    packed = np.frombuffer(_read(path, int(np.prod(CELLS)) // 8), np.uint8)
    return np.unpackbits(packed).reshape(CELLS).astype(np.bool_)


def labelled_frames(folder: Path) -> list[str]:
    """The frames that have labels, in order: every fifth of the training sequences, none of the others."""
    return sorted(path.stem for path in folder.glob("*.label"))


def write_truth(
    folder: Path, stamps_ns: tuple[int, ...], truth: Path, progress: Callable[[int, int], None] | None = None
) -> int:
    """Write labels.yaml and voxels/<stamp>.npz (`label`, `mask_lidar`) of all labelled frames, in base_link.

    Args:
        folder: a sequence's `voxels`.
        stamps_ns: stamp of each frame of the sequence.
        truth: the folder to write, made where there is something to write.
        progress: called with frames done and in all.

    Returns:
        The number of grids.

    Raises:
        KittiError: a file is missing or damaged, or the sequence has no such frame.
    """
    frames = labelled_frames(folder)
    if not frames:
        return 0
    for done, frame in enumerate(frames, start=1):
        if not frame.isdigit() or int(frame) >= len(stamps_ns):
            raise KittiError(f"{folder / frame}.label belongs to no frame: the sequence has {len(stamps_ns)}")
        voxels = read_voxels(folder, frame)
        masks = {} if voxels.visible is None else {"mask_lidar": voxels.visible}
        write_label_voxels(truth / "voxels" / f"{stamps_ns[int(frame)]}.npz", voxels.label, masks)
        if progress is not None:
            progress(done, len(frames))
    save_label_names(truth, LabelNames(CLASS_NAMES, FREE, GRID))
    return len(frames)


def _classes() -> NDArray[np.uint8]:
    """Class of each label 0 .. 259, and of everything above at 260."""
    classes = np.full(261, UNKNOWN, np.uint8)
    classes[0] = FREE
    for index, labels in RAW_LABELS.items():
        classes[list(labels)] = index
    return classes


def _read(path: Path, size: int) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise KittiError(f"{path} is missing") from error
    except OSError as error:
        raise KittiError(f"{path} cannot be read ({error.strerror})") from error
    if len(data) != size:
        raise KittiError(f"{path} is damaged: it has {len(data)} bytes, expected {size}")
    return data
