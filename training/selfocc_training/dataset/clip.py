# SPDX-License-Identifier: Apache-2.0
"""Samples of a dataset put together as a training clip, with the labels that are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.configuration import ConfigError
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_training.dataset.cache import ImageCache
from selfocc_training.dataset.clip_labels import class_table, seen_labels, source_pixels
from selfocc_training.dataset.labels import UNKNOWN, LabelNames
from selfocc_training.dataset.parquet import DatasetError
from selfocc_training.dataset.seen import no_image, show_images
from selfocc_training.town_clips import Clip

if TYPE_CHECKING:
    from selfocc_training.dataset.dataset import Dataset


@dataclass(frozen=True)
class ClipLabels:
    """Which labels a clip gets.

    Attributes:
        class_maps, voxels: whether.
        classes: of the network in the order of its channels; labels are matched by name, and free space follows them.
            Without them, labels are those of the dataset.
    """

    class_maps: bool = False
    voxels: bool = False
    classes: tuple[str, ...] = ()


NO_LABELS = ClipLabels()


def assemble_clip(
    dataset: Dataset,
    indices: Sequence[int],
    size: tuple[int, int],
    cameras: Sequence[str] | None,
    labels: ClipLabels,
    cache: ImageCache | None,
) -> Clip:
    """See ``Dataset.clip``."""
    base_from_ground = np.eye(4)
    base_from_ground[2, 3] = dataset.ground_z
    names = tuple(cameras or (image.name for image in dataset[indices[0]].images))
    images = np.zeros((len(indices), len(names), 3, size[1], size[0]), np.uint8)
    odom_from_base = np.zeros((len(indices), 4, 4))
    odom_from_camera = np.zeros((len(indices), len(names), 4, 4))
    recorded: tuple[CameraModel, ...] = ()
    shown: tuple[CameraModel, ...] = ()
    for k, index in enumerate(indices):
        sample = dataset[index]
        found = [sample.image(name) for name in names]
        present = [image for image in found if image is not None]
        if len(present) < len(names):
            raise no_image(dataset, sample, names[found.index(None)])
        cameras_k = show_images(dataset, index, sample, present, images[k], cache)
        if shown and cameras_k != shown:
            raise DatasetError(f"{dataset.root}: a calibration of {sample.drive} changes before {sample.stamp_ns}")
        shown, recorded = cameras_k, tuple(image.camera for image in present)
        odom_from_base[k] = sample.odom_from_base @ base_from_ground
        odom_from_camera[k] = sample.odom_from_base @ np.array([image.base_from_camera for image in present])
    models = dict(zip(names, zip(recorded, shown, strict=True), strict=True))
    matrices = np.stack([camera.matrix for camera in shown])
    class_maps, voxels, grid, free = None, None, None, 0
    if labels.class_maps or labels.voxels:
        told = dataset.label_names
        if told is None:
            wanted = "data.class_maps" if labels.class_maps else "data.voxel_labels"
            raise ConfigError(f"{dataset.root} has no labels for {wanted}: it has no labels.yaml.")
        table, free = class_table(told, labels.classes, dataset.root)
        if labels.class_maps:
            # Free space in an image is sky: no class of the network's.
            surfaces = table.copy()
            surfaces[told.free] = UNKNOWN
            class_maps = _class_maps(dataset, indices, models, size, surfaces)
        if labels.voxels:
            voxels, grid = _voxels(dataset, indices, told, table)
    return Clip(
        images,
        np.stack([matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 0, 2], matrices[:, 1, 2]], 1).astype(np.float32),
        np.array([(camera.width, camera.height) for camera in shown], np.float32),
        odom_from_base,
        odom_from_camera,
        ego_mask=_ego_masks(dataset, models, size),
        labels=class_maps,
        voxels=voxels,
        voxel_grid=grid,
        voxel_free=free,
    )


def _ego_masks(
    dataset: Dataset, cameras: Mapping[str, tuple[CameraModel, CameraModel]], size: tuple[int, int]
) -> NDArray[np.bool_] | None:
    """(N, H, W), or None where no camera has a mask."""
    found = [dataset.network_mask(name, *models) for name, models in cameras.items()]
    if all(use is None for use in found):
        return None
    masks = np.ones((len(found), size[1], size[0]), np.bool_)
    for mask, use in zip(masks, found, strict=True):
        if use is not None:
            mask[: use.shape[0], : use.shape[1]] = use
    return masks


def _class_maps(
    dataset: Dataset,
    indices: Sequence[int],
    cameras: Mapping[str, tuple[CameraModel, CameraModel]],
    size: tuple[int, int],
    table: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """(T, N, H, W) through ``table`` (256), 255 where an image has none."""
    maps = np.full((len(indices), len(cameras), size[1], size[0]), UNKNOWN, np.uint8)
    for k, index in enumerate(indices):
        for n, (name, models) in enumerate(cameras.items()):
            found = dataset.class_map(index, name)
            if found is not None:
                places = source_pixels(*models)
                maps[k, n, : places.shape[0], : places.shape[1]] = seen_labels(table[found], places)
    return maps


def _voxels(
    dataset: Dataset, indices: Sequence[int], names: LabelNames, table: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], VoxelGrid]:
    """(T, X, Y, Z) labels through ``table`` (256), 255 where a sample has none, and their grid above the road."""
    if names.grid is None:
        raise ConfigError(f"{dataset.root} has no labels for data.voxel_labels: its labels.yaml has no grid.")
    voxels = np.full((len(indices), *names.grid.shape), UNKNOWN, np.uint8)
    for k, index in enumerate(indices):
        found = dataset.voxels(index)
        if found is not None:
            voxels[k] = table[found.in_base()]
    return voxels, names.grid.shifted(-dataset.ground_z)
