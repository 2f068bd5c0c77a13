# SPDX-License-Identifier: Apache-2.0
"""The truth's voxels, and what a prediction says of them, whatever grid and moment they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import FREE, OCCUPIED, UNKNOWN, OccupancyVolume, VoxelGrid
from selfocc_training.dataset.labels import UNKNOWN as UNKNOWN_LABEL
from selfocc_training.dataset.labels import VoxelLabels
from selfocc_training.metrics.occ3d import Occ3dProtocol

ABOVE_GROUND_M = 0.3
"""Voxels whose lower face lies higher than this over the ground are above ground."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class VoxelTruth:
    """True occupancy of one sample; arrays (X, Y, Z) bool.

    Attributes:
        labels: where they come from.
        known: voxels whose label is known; the others are never scored.
        occupied: voxels that hold something.
        mask: known voxels that the cameras see; all known ones where the labels have no camera mask.
        above: voxels above the ground.
    """

    labels: VoxelLabels
    known: Bools
    occupied: Bools
    mask: Bools
    above: Bools

    @classmethod
    def of(cls, labels: VoxelLabels, ground_z: float) -> VoxelTruth:
        """Truth of voxel labels; where they don't tell what is above ground, the ground is at z = ``ground_z``."""
        known = labels.label != UNKNOWN_LABEL
        mask = known if labels.mask_camera is None else known & labels.mask_camera
        above = labels.above_ground
        if above is None:
            above = above_flat_ground(labels.grid, ground_z)
        return cls(labels, known, known & (labels.label != labels.free), mask, above)

    @property
    def volume(self) -> OccupancyVolume:
        """The truth to draw: unknown where no camera sees, with classes where the labels tell more than one."""
        state = np.where(self.occupied, OCCUPIED, FREE).astype(np.uint8)
        state[~self.mask] = UNKNOWN
        grid, names = self.labels.grid, self.labels.classes
        if len(names) < 2:
            return OccupancyVolume(grid, state)
        classes = np.where(self.occupied, self.labels.label, 0).astype(np.uint8)
        return OccupancyVolume(grid, state, classes=classes, class_names=names)


def above_flat_ground(grid: VoxelGrid, ground_z: float) -> Bools:
    """(X, Y, Z) voxels whose lower face is more than ABOVE_GROUND_M over the plane z = ``ground_z``."""
    faces = grid.lower[2] + np.arange(grid.shape[2]) * grid.cell[2]
    above = faces > ground_z + ABOVE_GROUND_M + 1e-6
    return np.broadcast_to(above, grid.shape).copy()


def read_volume(volume: OccupancyVolume, labels: VoxelLabels) -> tuple[Bools, NDArray[np.uint8] | None]:
    """A prediction at the centres of the truth's voxels: occupied (X, Y, Z) bool, and its labels if it has any.

    Each takes what the voxel of the prediction says that its centre lies in. What the prediction does not know, and
    what lies beyond its grid, is not occupied.
    """
    occupied = volume.state == OCCUPIED
    if volume.grid == labels.grid and np.allclose(labels.base_from_labels, np.eye(4), atol=1e-9):
        return occupied, volume.classes
    index, inside = volume.grid.index_of(_in_base(labels, labels.grid.centres()))
    places = tuple(index[inside].T)
    out = np.zeros(labels.grid.shape, np.bool_)
    out[inside] = occupied[places]
    if volume.classes is None:
        return out, None
    classes = np.zeros(labels.grid.shape, np.uint8)
    classes[inside] = volume.classes[places]
    return out, classes


@torch.inference_mode()
def read_field(
    scene: Any, labels: VoxelLabels, protocol: Occ3dProtocol, ground_z: float, channel_labels: Sequence[int] = ()
) -> tuple[Bools, NDArray[np.uint8] | None]:
    """The field where ``protocol`` reads it for each voxel: its distance 0 or less (X, Y, Z) bool, and labels.

    Args:
        scene: the fields, in the ground frame.
        labels: voxels of the truth.
        channel_labels: label of each class channel; labels are those of the likeliest channels, None without any.
    """
    points = (_in_base(labels, protocol.query_points(labels.grid)) - np.array([0.0, 0.0, ground_z])).astype(np.float32)
    occupied = np.zeros(labels.grid.shape, np.bool_)
    classes = np.zeros(labels.grid.shape, np.uint8) if channel_labels else None
    for x, slab in enumerate(torch.as_tensor(points, device=scene.nodes.device)):
        occupied[x] = (scene.sdf(slab) <= 0).cpu().numpy()
        if classes is not None:
            classes[x] = np.array(channel_labels, np.uint8)[scene.class_logits(slab).argmax(dim=-1).cpu().numpy()]
    return occupied, classes


def _in_base(labels: VoxelLabels, points: NDArray[np.float32]) -> NDArray[np.float64]:
    pose = labels.base_from_labels
    return np.asarray(points @ pose[:3, :3].T + pose[:3, 3])
