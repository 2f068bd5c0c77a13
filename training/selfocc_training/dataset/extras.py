# SPDX-License-Identifier: Apache-2.0
"""What a dataset gets beside images and poses: labels that lie beside recordings, masks that a layout names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from selfocc_ros.sensing.layout import Layout
from selfocc_training.dataset.drive import DriveState
from selfocc_training.dataset.import_truth import import_truth
from selfocc_training.dataset.labels import mask_path, read_mask, write_picture
from selfocc_training.dataset.parquet import DatasetError
from selfocc_training.dataset.truth import read_truth


def take_labels(root: Path, state: DriveState, bag: Path, layout: Layout, folder: Path | None) -> None:
    """Import the labels of a finished drive, unless just these have been; `folder` is None where there are none.

    Raises:
        DatasetError: the folder holds none, or they are damaged.
    """
    if folder is None:
        return
    truth = read_truth(folder)
    if (state.labels.get("folder"), state.labels.get("fingerprint")) == (str(folder), truth.fingerprint):
        return
    state.labels = import_truth(root, state.name, truth, bag, layout.base_frame, layout.fixed_frame)
    state.save(root / "drives")


def take_masks(root: Path, states: Sequence[DriveState], layout: Layout) -> None:
    """Copy the masks that the layout names to `masks/<camera>.png`, white where pixels may be used.

    Raises:
        ConfigError: a mask does not exist.
        DatasetError: it is no picture, or not of the size of the camera's images.
    """
    for state in states:
        for name, found in state.findings["cameras"].items():
            source = layout.mask_of(name)
            if source is None or found["size"] is None or source == mask_path(root, name):
                continue
            pixels = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE)
            if pixels is None:
                raise DatasetError(f"{source}, the mask of camera '{name}', cannot be read as a picture")
            width, height = found["size"]
            if pixels.shape != (height, width):
                raise DatasetError(
                    f"{source} is {pixels.shape[1]}x{pixels.shape[0]}, but the images of camera '{name}' in "
                    f"{state.name} are {width}x{height}: a mask must be of the images' own size"
                )
            write_picture(mask_path(root, name), np.where(pixels >= 128, 255, 0).astype(np.uint8))


def with_own_masks(layout: Layout) -> Layout:
    """The layout with its masks where `take_masks` leaves them, relative to the dataset's folder."""
    cameras = {
        name: replace(camera, mask=str(mask_path(Path(), name))) if camera.mask else camera
        for name, camera in layout.cameras.items()
    }
    return replace(layout, cameras=cameras)


def masked_share(root: Path, camera: str) -> float | None:
    """Share of a camera's image that its mask takes, or None where it has no mask."""
    path = mask_path(root, camera)
    return float(1.0 - read_mask(path).mean()) if path.is_file() else None
