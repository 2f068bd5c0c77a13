# SPDX-License-Identifier: Apache-2.0
"""Which samples are scored, and whose images make the network blind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.sensing.frames import RigSample
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.evaluation.classes import ProtocolError

SAME_PLACE_M = 30.0
"""Images taken nearer than this show some of the same street: what is called blind then is not quite blind."""


def split_to_score(dataset: Dataset, asked: str | None) -> tuple[str, NDArray[np.int64]]:
    """The split that is scored and its samples: the one asked for, else ``val``, else ``train`` where all of it trains.

    Raises:
        DatasetError: there is no such split.
    """
    if asked is None:
        asked = "val" if (dataset.splits == "val").any() else "train"
    return asked, dataset.indices(asked)


def evenly(indices: NDArray[np.int64], count: int | None) -> NDArray[np.int64]:
    """``count`` of the indices, evenly spread from the first to the last; all where there are no more."""
    if count is None or count >= len(indices):
        return indices
    return indices[np.round(np.linspace(0, len(indices) - 1, count)).astype(np.int64)]


def travelling(dataset: Dataset, indices: NDArray[np.int64], least_m: float) -> NDArray[np.int64]:
    """Those of the indices after which the vehicle went at least ``least_m`` metres to the next sample of its drive.

    The last sample of a drive counts by the way to it.
    """
    if least_m <= 0:
        return indices
    kept = []
    for index in indices.tolist():
        after = index + 1 < len(dataset) and dataset.drives[index + 1] == dataset.drives[index]
        first, second = (index, index + 1) if after else (max(index - 1, 0), index)
        if dataset.distance_m[second] - dataset.distance_m[first] >= least_m:
            kept.append(index)
    return np.array(kept, np.int64)


def with_truth(
    indices: NDArray[np.int64], has_truth: Callable[[int], bool], count: int | None, what: str
) -> NDArray[np.int64]:
    """Up to ``count`` of the indices that have truth, evenly spread.

    Raises:
        ProtocolError: none has.
    """
    there = np.array([index for index in indices.tolist() if has_truth(index)], np.int64)
    if not len(there):
        raise ProtocolError(what)
    return evenly(there, count)


class Ways:
    """Ways of the vehicle through the drives of a dataset; each is read once."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._drives: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}

    def poses(self, index: int) -> NDArray[np.float64]:
        """(T, 4, 4) odom_from_base of all samples whose places can be compared with those of ``index``."""
        drive = str(self._dataset.drives[index])
        if drive not in self._drives:
            samples = [self._dataset[int(i)] for i in np.flatnonzero(self._dataset.drives == drive)]
            poses = np.array([sample.odom_from_base for sample in samples])
            self._drives[drive] = np.array([sample.segment for sample in samples], np.int64), poses
        segments, poses = self._drives[drive]
        return np.asarray(poses[segments == self._dataset[index].segment])


def far_sample(dataset: Dataset, index: int) -> tuple[int, float] | None:
    """A sample far away that has all cameras of ``index`` in the same size, and how many metres were driven in between.

    Of another drive, as far along in it, if there is one (infinitely far); else the farthest of its own drive. None
    where no other sample has these cameras.
    """
    here = dataset[index]
    sizes = {image.name: (image.camera.width, image.camera.height) for image in here.images}

    def serves(other: int) -> bool:
        there = {image.name: (image.camera.width, image.camera.height) for image in dataset[other].images}
        return sizes.items() <= there.items()

    own = np.flatnonzero(dataset.drives == here.drive)
    share = (index - own[0]) / len(own)
    names = sorted(set(dataset.drives.tolist()))
    turned = names[names.index(here.drive) + 1 :] + names[: names.index(here.drive)]
    for name in turned:
        others = np.flatnonzero(dataset.drives == name)
        other = int(others[int(share * len(others))])
        if serves(other):
            return other, float("inf")
    for other in sorted(own.tolist(), key=lambda other: -abs(dataset.distance_m[other] - here.distance_m)):
        if other != index and serves(other):
            return other, float(abs(dataset.distance_m[other] - here.distance_m))
    return None


def blinded(sample: RigSample, images: RigSample) -> RigSample:
    """A sample with another one's images, camera by camera, and its own geometry."""
    frames = dict(zip(images.rig.names, images.frames, strict=True))
    return RigSample(sample.stamp_ns, sample.rig, tuple(frames[name] for name in sample.rig.names))
