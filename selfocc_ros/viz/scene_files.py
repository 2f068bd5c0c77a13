# SPDX-License-Identifier: Apache-2.0
"""One moment's occupancy as files: PLY for viewers (CloudCompare, MeshLab, Open3D), npz with all there is for NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.voxels import OCCUPIED, OccupancyVolume, where
from selfocc_ros.viz.colours import volume_palette

_TYPES = {"<f4": "float", "|u1": "uchar"}


class SceneFileError(SelfOccError, OSError):
    """A file that cannot be written."""


def write_scene(
    folder: Path, volume: OccupancyVolume, stamp_ns: int, frame: str, ground_z: float = 0.0
) -> tuple[Path, Path]:
    """Write `occupancy_<stamp in ns>.ply` and `.npz` of a volume; each appears whole or not at all.

    The PLY has a vertex at the centre of each occupied voxel: x, y, z in metres in `frame`, red, green, blue, and label
    where the volume has classes. The npz has the arrays of the volume (`state`, `values`, and `classes` with
    `class_names`), `lower`, `upper` and `shape` of the grid, `stamp_ns` and `frame`.

    Args:
        folder: made if missing.
        ground_z: height of the ground in `frame`, metres: colours go by height above it.

    Raises:
        SceneFileError: the files cannot be written.
    """
    ply, npz = (folder / f"occupancy_{stamp_ns}{suffix}" for suffix in (".ply", ".npz"))
    arrays: dict[str, Any] = {"state": volume.state, "values": volume.sdf, "classes": volume.classes}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    if volume.classes is not None:
        arrays["class_names"] = np.array(volume.class_names)
    about: dict[str, Any] = {**volume.grid.to_dict(), "stamp_ns": np.int64(stamp_ns), "frame": frame}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{ply.stem}.part.ply"
        part.write_bytes(ply_bytes(volume, ground_z))
        part.replace(ply)
        part = folder / f"{npz.stem}.part.npz"
        np.savez_compressed(part, **arrays, **about)
        part.replace(npz)
    except OSError as error:
        raise SceneFileError(f"{folder}: the scene cannot be written ({error.strerror or error})") from error
    return ply, npz


def ply_bytes(volume: OccupancyVolume, ground_z: float = 0.0) -> bytes:
    """The PLY file of `write_scene`, binary and little-endian."""
    index = where(volume.state == OCCUPIED)
    palette, entries = volume_palette(volume, index, ground_z)
    fields = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    if volume.classes is not None:
        fields.append(("label", "u1"))
    vertices = np.zeros(len(entries), fields)
    for axis, name in enumerate("xyz"):
        vertices[name] = volume.grid.line(axis)[index[axis]]
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = palette[entries, channel]
    if volume.classes is not None:
        vertices["label"] = entries
    properties = [f"property {_TYPES[np.dtype(kind).str]} {name}" for name, kind in fields]
    labels = [f"comment label {label} is {name}" for label, name in enumerate(volume.class_names)]
    header = ["ply", "format binary_little_endian 1.0", "comment metres, x forward, y left, z up", *labels]
    header += [f"element vertex {len(vertices)}", *properties, "end_header", ""]
    return "\n".join(header).encode("utf-8") + vertices.tobytes()
