# SPDX-License-Identifier: Apache-2.0
"""What stands and moves in a town: upright boxes and spheres, as tables of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Colour = tuple[float, float, float]


class Label(IntEnum):
    """Classes of Occ3D-nuScenes; FREE is empty space (and sky in images)."""

    OTHER = 0
    BARRIER = 1
    BICYCLE = 2
    BUS = 3
    CAR = 4
    CONSTRUCTION_VEHICLE = 5
    MOTORCYCLE = 6
    PEDESTRIAN = 7
    TRAFFIC_CONE = 8
    TRAILER = 9
    TRUCK = 10
    DRIVEABLE_SURFACE = 11
    OTHER_FLAT = 12
    SIDEWALK = 13
    TERRAIN = 14
    MANMADE = 15
    VEGETATION = 16
    FREE = 17


GROUND_LABELS = (Label.DRIVEABLE_SURFACE, Label.OTHER_FLAT, Label.SIDEWALK, Label.TERRAIN)


class Material(IntEnum):
    """How a surface is painted."""

    FACADE = 0
    WALL = 1
    CAR_BODY = 2
    CAR_CABIN = 3
    TRUCK_BOX = 4
    CLOTHES = 5
    SKIN = 6
    BARK = 7
    LEAVES = 8
    METAL = 9
    SIGN = 10
    STRIPES = 11


SUNK = 0.2
"""How far every object reaches below the ground at its centre, so that none floats on a slope [m]."""


@dataclass
class Solids:
    """A table of M upright solids: boxes (yaw about z) or spheres, in the odom frame.

    ``size`` holds half extents of boxes; of spheres, the radius three times. ``foot`` is the height of
    the ground below the solid, from which textures are measured. ``parameters`` mean what the material
    says. ``moving`` marks what is somewhere else at another time.
    """

    centre: Array  # (M, 3)
    size: Array  # (M, 3)
    yaw: Array  # (M,)
    sphere: npt.NDArray[np.bool_]  # (M,)
    label: npt.NDArray[np.int64]  # (M,)
    material: npt.NDArray[np.int64]  # (M,)
    colour: Array  # (M, 3)
    seed: npt.NDArray[np.int64]  # (M,)
    foot: Array  # (M,)
    parameters: Array  # (M, 4)
    actor: npt.NDArray[np.int64]  # (M,) which whole thing the part belongs to
    moving: npt.NDArray[np.bool_]  # (M,)

    def __len__(self) -> int:
        return len(self.yaw)

    def take(self, which: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Solids:
        """The rows chosen by indices or a mask."""
        return Solids(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    @staticmethod
    def join(tables: Sequence[Solids]) -> Solids:
        """All rows of several tables."""
        return Solids(
            **{field.name: np.concatenate([getattr(table, field.name) for table in tables]) for field in fields(Solids)}
        )

    @property
    def radius(self) -> Array:
        """Radius (M,) of the sphere around each solid, in metres."""
        return np.where(self.sphere, self.size[:, 0], np.linalg.norm(self.size, axis=1))


@dataclass(frozen=True)
class Part:
    """One solid of a thing, in the thing's own frame: x forward, y left, z up from the ground."""

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    material: Material
    colour: Colour
    parameters: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    ball: bool = False
    label: Label | None = None


@dataclass(frozen=True)
class Thing:
    """A whole object made of parts, with the class of all of them."""

    label: Label
    parts: tuple[Part, ...]
    seed: int


def build(things: Sequence[Thing], place: Array, moving: bool, first_actor: int = 0) -> Solids:
    """Put things at ``place`` (len(things), 4) = x, y, ground height, yaw."""
    counts = [len(thing.parts) for thing in things]
    owners = [i for i, count in enumerate(counts) for _ in range(count)]
    owner = np.array(owners, dtype=np.int64)
    parts = [part for thing in things for part in thing.parts]
    lower = np.array([part.lower for part in parts], dtype=np.float64).reshape(-1, 3)
    upper = np.array([part.upper for part in parts], dtype=np.float64).reshape(-1, 3)
    lower[:, 2] = np.where(lower[:, 2] <= 0.0, lower[:, 2] - SUNK, lower[:, 2])
    where = np.asarray(place, dtype=np.float64).reshape(-1, 4)[owner]
    middle = (lower + upper) * 0.5
    cos, sin = np.cos(where[:, 3]), np.sin(where[:, 3])
    centre = np.stack(
        [
            where[:, 0] + cos * middle[:, 0] - sin * middle[:, 1],
            where[:, 1] + sin * middle[:, 0] + cos * middle[:, 1],
            where[:, 2] + middle[:, 2],
        ],
        axis=-1,
    )
    labels = [
        int(part.label if part.label is not None else things[i].label) for part, i in zip(parts, owners, strict=True)
    ]
    return Solids(
        centre=centre,
        size=(upper - lower) * 0.5,
        yaw=where[:, 3].copy(),
        sphere=np.array([part.ball for part in parts], dtype=np.bool_),
        label=np.array(labels, dtype=np.int64),
        material=np.array([int(part.material) for part in parts], dtype=np.int64),
        colour=np.array([part.colour for part in parts], dtype=np.float64).reshape(-1, 3),
        seed=np.array(
            [(things[i].seed * 31 + 7 * k) % 65521 for i, count in enumerate(counts) for k in range(count)],
            dtype=np.int64,
        ),
        foot=where[:, 2].copy(),
        parameters=np.array([part.parameters for part in parts], dtype=np.float64).reshape(-1, 4),
        actor=owner + first_actor,
        moving=np.full(len(parts), moving, dtype=np.bool_),
    )
