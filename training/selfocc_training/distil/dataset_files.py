# SPDX-License-Identifier: Apache-2.0
"""Distilled labels of a prepared dataset: ``voxels/<drive>/<stamp_ns>.npz`` for each sample of a split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.runtime.predictor import input_of
from selfocc_ros.sensing.preprocess import NetworkInput, preprocess
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.labels import voxels_path, write_voxels
from selfocc_training.distil.config import FusionConfig
from selfocc_training.distil.drive import Moment, fused_drive
from selfocc_training.distil.teacher import Teacher


def distil_split(
    teacher: Teacher, dataset: Dataset, split: str, config: FusionConfig, keep: bool
) -> Iterator[NDArray[np.uint8] | None]:
    """Label every sample of a split out of its own stretch of drive; yields each sample's labels when they are written.

    Args:
        keep: whether labels that are there already stay; None is yielded for these.

    Raises:
        DatasetError: there is no such split, or an image is missing.
        DecodeError: no image of a sample can be decoded.
    """
    for stretch in dataset.stretches(split):
        paths = [voxels_path(dataset.root, str(dataset.drives[i]), int(dataset.stamps_ns[i])) for i in stretch]
        wanted = [at for at, path in enumerate(paths) if not (keep and path.is_file())]
        yield from [None] * (len(paths) - len(wanted))
        moments = [_moment(teacher, dataset, int(index)) for index in stretch]
        for at, own, fused in fused_drive(teacher, moments, config, wanted):
            labels = teacher.labels(own, fused, config)
            write_voxels(paths[at], labels)
            yield labels


def _moment(teacher: Teacher, dataset: Dataset, index: int) -> Moment:
    def see() -> NetworkInput:
        return preprocess(dataset.rig_sample(index), input_of(teacher.config))

    return Moment(dataset[index].odom_from_base, float(dataset.distance_m[index]), see)
