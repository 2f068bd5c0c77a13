# SPDX-License-Identifier: Apache-2.0
"""Regular grids of voxels, and what is known of each voxel: occupied, free or unknown.

Arrays are indexed [x, y, z]; the centre of cell i lies at lower + (i + 0.5) * cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfocc_ros.errors import SelfOccError

FREE = 0
OCCUPIED = 1
UNKNOWN = 255
"""States of a voxel in `OccupancyVolume.state`. UNKNOWN: no camera sees it."""


class GridError(SelfOccError, ValueError):
    """A grid or a volume that does not hold together: empty extent, wrong shape, unknown key."""


VoxelIndex = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Indices along x, y and z of some voxels, as `array[index]` takes them."""


def where(mask: NDArray[np.bool_]) -> VoxelIndex:
    """Indices of the true elements of a mask (X,Y,Z) in [x, y, z] order: np.nonzero in a quarter of its time."""
    x, y, z = np.unravel_index(np.flatnonzero(np.ascontiguousarray(mask)), mask.shape)
    return x, y, z


@dataclass(frozen=True)
class VoxelGrid:
    """An axis-aligned box from `lower` to `upper` (metres, x y z) cut into `shape` cells."""

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        for name, kind in (("lower", float), ("upper", float), ("shape", int)):
            values = tuple(kind(v) for v in getattr(self, name))
            if len(values) != 3:
                raise GridError(f"grid {name} must hold 3 numbers (x, y, z), found {len(values)}")
            object.__setattr__(self, name, values)
        if not np.all(np.isfinite((*self.lower, *self.upper))):
            raise GridError(f"grid bounds must be finite, found lower {self.lower} and upper {self.upper}")
        if any(low >= high for low, high in zip(self.lower, self.upper, strict=True)):
            raise GridError(f"grid upper {self.upper} must lie above lower {self.lower} in x, y and z")
        if any(n < 1 for n in self.shape):
            raise GridError(f"grid shape must be at least 1 in x, y and z, found {self.shape}")

    @property
    def cell(self) -> NDArray[np.float64]:
        """Edge lengths of one cell (3,), metres."""
        return np.subtract(self.upper, self.lower) / np.array(self.shape, dtype=np.float64)

    def centres(self) -> NDArray[np.float32]:
        """Centres of all cells (X,Y,Z,3), metres, computed in float64 and rounded once."""
        out = np.empty((*self.shape, 3), dtype=np.float32)
        for axis in range(3):
            out[..., axis] = self.line(axis).reshape([-1 if a == axis else 1 for a in range(3)])
        return out

    def line(self, axis: int) -> NDArray[np.float64]:
        """Centres of the cells along one axis (0, 1, 2 for x, y, z), metres."""
        return np.asarray(self.lower[axis] + (np.arange(self.shape[axis]) + 0.5) * self.cell[axis])

    def index_of(self, points: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Cells (...,3) of points (...,3) in metres, and whether each point lies inside (...,).

        Indices of points outside are clipped to -1 or the grid's size; those of NaN points are -1.
        """
        p = np.asarray(points, dtype=np.float64)
        shape = np.array(self.shape)
        scaled = np.floor((p - np.array(self.lower)) / self.cell)
        index = np.where(np.isnan(scaled), -1.0, np.clip(scaled, -1, shape)).astype(np.int64)
        return index, np.all((index >= 0) & (index < shape), axis=-1)

    def shifted(self, dz: float) -> VoxelGrid:
        """The same grid moved up by `dz` metres."""
        x0, y0, z0 = self.lower
        x1, y1, z1 = self.upper
        return VoxelGrid((x0, y0, z0 + dz), (x1, y1, z1 + dz), self.shape)

    def to_dict(self) -> dict[str, list[float] | list[int]]:
        """Plain lists under `lower`, `upper`, `shape`, as YAML and JSON like them."""
        return {"lower": list(self.lower), "upper": list(self.upper), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VoxelGrid:
        """The grid that `to_dict` wrote.

        Raises:
            GridError: a key is missing or unknown, or a value is not three numbers.
        """
        keys = {"lower", "upper", "shape"}
        if set(values) != keys:
            found = ", ".join(sorted(values)) or "none"
            raise GridError(f"a grid needs the keys lower, upper and shape, found {found}")
        for key in sorted(keys):
            value = values[key]
            if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3:
                raise GridError(f"grid {key} must hold 3 numbers (x, y, z), found {value!r}")
        return cls(tuple(values["lower"]), tuple(values["upper"]), tuple(values["shape"]))


OCC3D = VoxelGrid((-40.0, -40.0, -1.0), (40.0, 40.0, 5.4), (200, 200, 16))
"""The grid of Occ3D-nuScenes: cells of 0.4 m around the vehicle."""

OCC3D_CLASSES = (
    "others", "barrier", "bicycle", "bus", "car", "construction_vehicle", "motorcycle", "pedestrian", "traffic_cone",
    "trailer", "truck", "driveable_surface", "other_flat", "sidewalk", "terrain", "manmade", "vegetation",
)  # fmt: skip
"""The classes of Occ3D-nuScenes in the order of their labels; 17 is free."""


@dataclass(frozen=True, eq=False)
class OccupancyVolume:
    """What is known of each voxel of a grid.

    Attributes:
        grid: where the voxels are.
        state: (X,Y,Z) uint8, FREE, OCCUPIED or UNKNOWN.
        sdf: (X,Y,Z) float32 signed distance at the centres in metres, positive in free space; or None.
        classes: (X,Y,Z) uint8 label of the class of each occupied voxel, 0 elsewhere; or None.
        class_names: name of each label, by its index.
    """

    grid: VoxelGrid
    state: NDArray[np.uint8]
    sdf: NDArray[np.float32] | None = None
    classes: NDArray[np.uint8] | None = None
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, dtype in (("state", np.uint8), ("sdf", np.float32), ("classes", np.uint8)):
            array = getattr(self, name)
            if array is None and name != "state":
                continue
            if not isinstance(array, np.ndarray) or array.shape != self.grid.shape or array.dtype != dtype:
                found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
                raise GridError(f"volume {name} must be {np.dtype(dtype)} of shape {self.grid.shape}, found {found}")

    @cached_property
    def state_ZXY(self) -> NDArray[np.uint8]:
        """`state` with its layers first, contiguous: what goes over all layers is ten times as fast on it."""
        return np.ascontiguousarray(self.state.transpose(2, 0, 1))

    def surface(self) -> NDArray[np.bool_]:
        """Which voxels (X,Y,Z) are occupied and have one among their six neighbours in the grid that is not."""
        occupied = self.state_ZXY == OCCUPIED
        inner = occupied.copy()
        for axis in range(3):
            low: list[slice] = [slice(None)] * 3
            high = list(low)
            low[axis], high[axis] = slice(None, -1), slice(1, None)
            inner[tuple(low)] &= occupied[tuple(high)]
            inner[tuple(high)] &= occupied[tuple(low)]
        return np.asarray((occupied & ~inner).transpose(1, 2, 0))

    def occupied_indices(self) -> NDArray[np.int64]:
        """Indices (M,3) of the occupied voxels, in [x, y, z] order."""
        return np.argwhere(self.state == OCCUPIED)

    def occupied_centres(self) -> NDArray[np.float32]:
        """Centres (M,3) of the occupied voxels, metres, in the order of `occupied_indices`."""
        centres = np.array(self.grid.lower) + (self.occupied_indices() + 0.5) * self.grid.cell
        return centres.astype(np.float32)
