# SPDX-License-Identifier: Apache-2.0
"""Labels of town clips under the classes of a network, matched by name as those of datasets are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from selfocc_ros.geometry.voxels import OCC3D_CLASSES
from selfocc_ros.town.objects import Label
from selfocc_training.dataset.clip_labels import class_table
from selfocc_training.dataset.labels import LabelNames
from selfocc_training.town_clips import Clip

NAMES = LabelNames(OCC3D_CLASSES, int(Label.FREE))
"""What the labels in the files of town clips mean."""


def with_channels(clip: Clip, classes: Sequence[str], folder: Path, voxels: bool = True) -> Clip:
    """A clip as it lies in its file, with its labels in the class channels of a network.

    Args:
        clip: class maps, and voxels, with the town's own labels: those of Occ3D.
        classes: of the network in the order of its channels; what it does not know becomes 255, and free space follows
            them. Without classes labels stay what they are.
        folder: of the clips, for messages.
        voxels: whether the voxels are the town's; distilled ones know occupied and free alone, and stay.

    Raises:
        ConfigError: the network has classes, and none of the town's.
    """
    if clip.labels is None and not (voxels and clip.voxels is not None):
        return clip
    table, free = class_table(NAMES, classes, folder)
    if clip.labels is not None:
        clip = dataclasses.replace(clip, labels=np.take(table, clip.labels))
    if voxels and clip.voxels is not None:
        clip = dataclasses.replace(clip, voxels=np.take(table, clip.voxels), voxel_free=free)
    return clip
