# SPDX-License-Identifier: Apache-2.0
"""Labels as a training clip needs them: at the network's size without the lens, and under the network's classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.configuration import ConfigError
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_training.dataset.labels import UNKNOWN, LabelNames


@lru_cache(maxsize=64)
def source_pixels(recorded: CameraModel, seen: CameraModel) -> NDArray[np.float32]:
    """(H, W, 2) pixel of the recorded image that each pixel of the network's shows the middle of; NaN for none.

    Args:
        recorded: the camera of the image in the file, lens included.
        seen: the same camera without the lens at the network's size.
    """
    places, valid = recorded.project(seen.pixel_rays())
    found = np.where(valid[..., None], places, np.nan).astype(np.float32)
    found.setflags(write=False)
    return found


def seen_labels(labels: NDArray[np.uint8], places: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(h, w) labels of the nearest pixels of ``labels`` (H, W) at ``places`` (h, w, 2); 255 where there is none."""
    inside = ~np.isnan(places[..., 0])
    # Half way between two pixels the later one is meant, as in cv2.resize.
    whole = np.floor(np.where(inside[..., None], places, 0.0) + 0.5).astype(np.int64)
    columns = np.minimum(whole[..., 0], labels.shape[1] - 1)
    rows = np.minimum(whole[..., 1], labels.shape[0] - 1)
    return np.where(inside, labels[rows, columns], np.uint8(UNKNOWN)).astype(np.uint8)


def seen_mask(use: NDArray[np.bool_], places: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(h, w) mask at ``places`` (h, w, 2) of a mask (H, W): a pixel may be used if all that goes into it may be.

    What a lens does not show of its undistorted image may not be used either.
    """
    shrink = max(use.shape[0] / places.shape[0], use.shape[1] / places.shape[1])
    around = 2 * int(np.ceil(shrink / 2.0)) + 1
    whole = cv2.erode(use.astype(np.uint8), np.ones((around, around), np.uint8))
    return np.asarray(seen_labels(np.asarray(whole, np.uint8), places) == 1, np.bool_)


def class_table(names: LabelNames, wanted: Sequence[str], root: Path) -> tuple[NDArray[np.uint8], int]:
    """What labels become, (256) uint8, and the label of free space afterwards.

    Args:
        wanted: classes of the network in the order of its channels, matched by name; what it does not know becomes
            255. Without classes labels stay what they are.
        root: names the dataset in messages.

    Raises:
        ConfigError: network and dataset have no class in common.
    """
    table = np.full(256, UNKNOWN, np.uint8)
    if not wanted:
        table[: len(names.classes)] = np.arange(len(names.classes))
        table[names.free] = names.free
        return table, names.free
    for label, name in enumerate(names.classes):
        if name in wanted:
            table[label] = wanted.index(name)
    if (table == UNKNOWN).all():
        raise ConfigError(
            f"{root} has none of the network's classes ({', '.join(wanted)}): "
            f"its labels are {', '.join(names.classes)}."
        )
    table[names.free] = len(wanted)
    return table, len(wanted)
