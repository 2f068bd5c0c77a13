# SPDX-License-Identifier: Apache-2.0
"""A prepared dataset as training reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.sensing.frames import CameraFrame, RigSample
from selfocc_ros.sensing.preprocess import preprocess
from selfocc_training.dataset.parquet import DatasetError, read_table
from selfocc_training.dataset.prepare import load_description
from selfocc_training.dataset.sample import Sample
from selfocc_training.town_clips import Clip


@dataclass(frozen=True)
class Neighbours:
    """Samples of the same street, as indices, the nearest first: passed before a sample, and after it."""

    before: tuple[int, ...]
    after: tuple[int, ...]


class Dataset:
    """Samples by index, in the order of drives and stamps; `Dataset.open(folder)`.

    Attributes:
        root: the folder.
        description: the content of `dataset.json`.
        cameras: names of all cameras.
        stamps_ns, distance_m: (N) of each sample.
        splits, drives: (N) names.
    """

    def __init__(self, root: Path, description: dict[str, Any], table: Any) -> None:
        self.root, self.description = root, description
        self._table = table
        self.cameras = tuple(description["cameras"])
        self._present = _presence(table, self.cameras)
        self.stamps_ns: NDArray[np.int64] = table["stamp_ns"].to_numpy()
        self.distance_m: NDArray[np.float64] = table["distance_m"].to_numpy()
        self.splits: NDArray[np.str_] = np.array(table["split"].to_pylist(), dtype=str)
        self.drives: NDArray[np.str_] = np.array(table["drive"].to_pylist(), dtype=str)
        segments = table["segment"].to_numpy()
        # Samples of one stretch are compared with each other: one drive, continuous odometry, one split.
        changes = (
            (self.drives[1:] != self.drives[:-1])
            | (segments[1:] != segments[:-1])
            | (self.splits[1:] != self.splits[:-1])
        )
        self._stretch = np.concatenate([np.zeros(min(1, len(segments)), np.int64), np.cumsum(changes)])

    @classmethod
    def open(cls, root: str | Path) -> Dataset:
        """The dataset in a folder.

        Raises:
            DatasetError: there is none, or it was not prepared to its end.
        """
        folder = Path(root)
        description = load_description(folder)
        if not description["complete"]:
            raise DatasetError(f"{folder} is not complete: run `selfocc prepare` again, it goes on where it stopped")
        return cls(folder, description, read_table(folder / "index.parquet"))

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def __getitem__(self, index: int) -> Sample:
        """One sample."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return Sample.from_row(self._table.slice(index % len(self), 1).to_pylist()[0])

    def indices(self, split: str) -> NDArray[np.int64]:
        """Indices of a split's samples.

        Raises:
            DatasetError: the dataset has no such split.
        """
        chosen = np.flatnonzero(self.splits == split)
        if not len(chosen):
            known = ", ".join(sorted(set(self.splits.tolist()))) or "none"
            raise DatasetError(f"{self.root} has no samples of split '{split}' (it has: {known})")
        return chosen

    def samples(self, split: str) -> Iterator[Sample]:
        """The samples of a split."""
        for index in self.indices(split):
            yield self[int(index)]

    def stretches(self, split: str) -> list[NDArray[np.int64]]:
        """Indices of a split's samples by stretch: one drive, continuous odometry.

        Raises:
            DatasetError: the dataset has no such split.
        """
        chosen = self.indices(split)
        return np.split(chosen, np.flatnonzero(np.diff(self._stretch[chosen])) + 1)

    def cameras_of(self, indices: Sequence[int]) -> tuple[str, ...]:
        """Cameras that all of these samples have."""
        there = np.flatnonzero(self._present[list(indices)].all(axis=0))
        return tuple(self.cameras[place] for place in there)

    def neighbours(self, index: int, camera: str, low_m: float, high_m: float) -> Neighbours:
        """Samples with an image of `camera`, `low_m` to `high_m` travelled before and after a sample.

        They are of the sample's own drive and split, with continuous odometry in between.

        Raises:
            DatasetError: there is no such camera.
        """
        if camera not in self.cameras:
            raise DatasetError(f"{self.root} has no camera '{camera}', found {', '.join(self.cameras)}")
        place = self.cameras.index(camera)
        stretch = np.flatnonzero(self._stretch == self._stretch[index])
        travelled = self.distance_m[stretch] - self.distance_m[index]

        def within(distance: NDArray[np.float64]) -> tuple[int, ...]:
            places = np.flatnonzero((distance >= low_m) & (distance <= high_m) & (stretch != index))
            ordered = stretch[places[np.argsort(distance[places], kind="stable")]]
            return tuple(int(i) for i in ordered if self._present[i, place])

        return Neighbours(within(-travelled), within(travelled))

    def along(self, index: int, frames: int, spacing_m: float) -> list[int] | None:
        """A sample and those after it, each at least `spacing_m` further on; None where the stretch ends before."""
        last = int(np.searchsorted(self._stretch, self._stretch[index], side="right"))
        chosen = [index]
        while len(chosen) < frames:
            goal = self.distance_m[chosen[-1]] + spacing_m
            following = int(np.searchsorted(self.distance_m[index:last], goal)) + index
            following = max(following, chosen[-1] + 1)
            if following >= last:
                return None
            chosen.append(following)
        return chosen

    def rig_sample(self, index: int) -> RigSample:
        """A sample as the node gets it from its topics: encoded images and their rig.

        Raises:
            DatasetError: an image file is missing.
        """
        sample = self[index]
        frames = []
        for image in sample.images:
            path = self.root / image.file
            try:
                data = path.read_bytes()
            except OSError as error:
                raise DatasetError(f"{path} cannot be read ({error.strerror})") from error
            frames.append(CameraFrame(image.name, image.stamp_ns, "", "jpeg", data))
        return RigSample(sample.stamp_ns, sample.rig, tuple(frames), sample.missing)

    def clip(self, indices: Sequence[int], size: tuple[int, int], cameras: Sequence[str] | None = None) -> Clip:
        """Samples as a training clip, images as the network sees them: undistorted, within `size` (width, height).

        Args:
            indices: T samples of one stretch of a drive, as `along` gives them.
            cameras: which, in this order; None is all that the first sample has.

        Raises:
            DatasetError: a camera is missing in one of the samples, or its calibration changes between them.
            DecodeError: no image of a sample can be decoded.
        """
        names = tuple(cameras or (image.name for image in self[indices[0]].images))
        images = np.zeros((len(indices), len(names), 3, size[1], size[0]), np.uint8)
        odom_from_base = np.zeros((len(indices), 4, 4))
        odom_from_camera = np.zeros((len(indices), len(names), 4, 4))
        first: tuple[str, ...] = ()
        intrinsics, sizes = np.zeros((len(names), 4), np.float32), np.zeros((len(names), 2), np.float32)
        for k, index in enumerate(indices):
            sample, seen = self[index], preprocess(self.rig_sample(index), size)
            missing = [name for name in names if name not in seen.rig.names]
            if missing:
                raise DatasetError(
                    f"{self.root}: the sample of {sample.drive} at {sample.stamp_ns} has no image of '{missing[0]}'"
                )
            order = [seen.rig.names.index(name) for name in names]
            rig = seen.rig.subset(order)
            lenses = tuple(camera.fingerprint() for camera in rig.cameras)
            if first and lenses != first:
                raise DatasetError(f"{self.root}: a calibration of {sample.drive} changes before {sample.stamp_ns}")
            if not first:
                first = lenses
                for n, camera in enumerate(rig.cameras):
                    m = camera.matrix
                    intrinsics[n] = m[0, 0], m[1, 1], m[0, 2], m[1, 2]
                    sizes[n] = camera.width, camera.height
            images[k] = seen.images[order].transpose(0, 3, 1, 2)
            odom_from_base[k] = sample.odom_from_base
            odom_from_camera[k] = sample.odom_from_base @ rig.base_from_camera
        return Clip(images, intrinsics, sizes, odom_from_base, odom_from_camera)


def _presence(table: Any, cameras: Sequence[str]) -> NDArray[np.bool_]:
    """(N, C), which cameras each sample has."""
    column = table["cameras"].combine_chunks()
    rows = np.repeat(np.arange(len(column)), column.value_lengths().to_numpy(zero_copy_only=False))
    places = {name: place for place, name in enumerate(cameras)}
    presence = np.zeros((len(column), len(cameras)), np.bool_)
    presence[rows, [places[name] for name in column.flatten().field("name").to_pylist()]] = True
    return presence
