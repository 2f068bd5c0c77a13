# SPDX-License-Identifier: Apache-2.0
"""Training clips of a prepared dataset: cut by distance travelled, read when a step draws them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import overload

import numpy as np

from selfocc_ros.configuration import ConfigError
from selfocc_training.config import DataConfig
from selfocc_training.dataset.cache import ImageCache
from selfocc_training.dataset.clip import ClipLabels
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.town_clips import Clip

KEPT_BYTES = 1 << 30
"""Clips that are kept in memory, those drawn last; one clip always is."""


class DatasetClips(Sequence[Clip]):
    """Clips of the ``train`` split, all of ``data.clip``'s size, with the cameras that are there all along.

    A clip has ``clip.frames`` samples, each ``clip.spacing_m`` further on, and begins half a clip after the one before
    it. Where a drive is too short for that, its one clip has fewer frames, at least those that a step compares
    (``widest_gap`` to either side). Drives without a single clip are left out.

    Attributes:
        dataset: what is cut.
        indices: samples of each clip.
        drives: names of the drives that clips come from.
        left_out: drives that are too short, with the metres that they have in one piece.
        spacing_m: metres from a sample of a clip to the next, the median; ``clip.spacing_m`` is the least.
        cache: images at the network's size, on disk.
    """

    def __init__(
        self, dataset: Dataset, data: DataConfig, kept_bytes: int = KEPT_BYTES, classes: Sequence[str] = ()
    ) -> None:
        """Cut the clips; nothing but the index is read.

        Args:
            classes: of the network in the order of its channels, for labels.

        Raises:
            ConfigError: no drive is long enough, or clips are shorter than what a step compares.
            DatasetError: the dataset has no samples to train on.
        """
        self.dataset, self._kept_bytes = dataset, kept_bytes
        self.cache = ImageCache(dataset.root, (data.clip.width, data.clip.height))
        self._labels = ClipLabels(data.class_maps, data.voxel_labels, tuple(classes))
        least = 2 * data.widest_gap + 1
        if data.clip.frames < least:
            raise ConfigError(
                f"data.clip.frames must be at least {least} with data.widest_gap {data.widest_gap}, "
                f"found {data.clip.frames}."
            )
        self.indices: list[list[int]] = []
        longest: dict[str, float] = {}
        for stretch in dataset.stretches("train"):
            first, last = int(stretch[0]), int(stretch[-1])
            drive = str(dataset.drives[first])
            longest[drive] = max(longest.get(drive, 0.0), float(dataset.distance_m[last] - dataset.distance_m[first]))
            walk = _walk(dataset, first, data.clip.spacing_m)
            cuts = [cut for cut in _cuts(walk, data.clip.frames) if len(cut) >= least]
            self.indices += [cut for cut in cuts if dataset.cameras_of(cut)]
        self.drives = tuple(dict.fromkeys(str(dataset.drives[cut[0]]) for cut in self.indices))
        self.left_out = {drive: metres for drive, metres in longest.items() if drive not in self.drives}
        if not self.indices:
            drive = max(longest, key=lambda name: longest[name])
            needed = f"{least} samples {data.clip.spacing_m:g} m apart with a camera that is there all along"
            raise ConfigError(
                f"{dataset.root}: drive {drive} is too short to train on: {longest[drive]:.1f} m in one piece, and a "
                f"clip needs {needed}; lower data.clip.spacing_m or data.widest_gap."
            )
        self.spacing_m = float(np.median(np.concatenate([np.diff(dataset.distance_m[cut]) for cut in self.indices])))
        self._kept: OrderedDict[int, Clip] = OrderedDict()
        self._lock = threading.Lock()  # steps are drawn ahead by another thread

    @property
    def cache_bytes(self) -> int:
        """Disk space of the images of all clips at the network's size."""
        images = {(index, name) for cut in self.indices for name in self.dataset.cameras_of(cut) for index in cut}
        return len(images) * self.cache.image_bytes

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, number: int) -> Clip: ...
    @overload
    def __getitem__(self, number: slice) -> list[Clip]: ...
    def __getitem__(self, number: int | slice) -> Clip | list[Clip]:
        """One clip, from memory if it is still there."""
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        with self._lock:
            if number not in self._kept:
                indices = self.indices[number]
                cameras = self.dataset.cameras_of(indices)
                self._kept[number] = self.dataset.clip(indices, self.cache.size, cameras, self._labels, self.cache)
                while len(self._kept) > 1 and sum(clip.nbytes for clip in self._kept.values()) > self._kept_bytes:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(number)
            return self._kept[number]


def _walk(dataset: Dataset, first: int, spacing_m: float) -> list[int]:
    """Samples of a stretch from ``first`` to its end, each ``spacing_m`` further on."""
    walk = [first]
    while (pair := dataset.along(walk[-1], 2, spacing_m)) is not None:
        walk.append(pair[1])
    return walk


def _cuts(walk: list[int], frames: int) -> list[list[int]]:
    """Parts of ``frames`` samples that begin half a part after each other; the last one ends where the walk does."""
    last = max(0, len(walk) - frames)
    starts = [*range(0, last, max(1, frames // 2)), last]
    return [walk[start : start + frames] for start in starts]
