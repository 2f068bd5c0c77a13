# SPDX-License-Identifier: Apache-2.0
"""A prepared dataset as training reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.sensing.frames import CameraFrame, RigSample
from selfocc_training.dataset.cache import ImageCache
from selfocc_training.dataset.clip import NO_LABELS, ClipLabels, assemble_clip
from selfocc_training.dataset.clip_labels import seen_mask, source_pixels
from selfocc_training.dataset.labels import (
    LabelNames,
    VoxelLabels,
    load_label_names,
    mask_path,
    picture_path,
    read_class_map,
    read_depth_map,
    read_mask,
    read_voxels,
    voxels_path,
)
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
    """Samples by index, drive by drive as they were recorded; `Dataset.open(folder)`.

    Attributes:
        root: the folder.
        description: the content of `dataset.json`.
        cameras: names of all cameras.
        ground_z: height of the road in the base frame, metres.
        stamps_ns, distance_m: (N) of each sample.
        splits, drives: (N) names.
    """

    def __init__(self, root: Path, description: dict[str, Any], table: Any) -> None:
        self.root, self.description = root, description
        self._table = table
        self._masks: dict[tuple[str, CameraModel, CameraModel], NDArray[np.bool_] | None] = {}
        self.cameras = tuple(description["cameras"])
        self.ground_z = float(description.get("ground_z", 0.0))
        self._present = _presence(table, self.cameras)
        self.stamps_ns: NDArray[np.int64] = table["stamp_ns"].to_numpy()
        self.distance_m: NDArray[np.float64] = table["distance_m"].to_numpy()
        self.splits: NDArray[np.str_] = np.array(table["split"].to_pylist(), dtype=str)
        self.drives: NDArray[np.str_] = np.array(table["drive"].to_pylist(), dtype=str)
        self._drive_starts = np.flatnonzero(np.concatenate([[True], self.drives[1:] != self.drives[:-1]]))
        segments = table["segment"].to_numpy()
        # Samples of one stretch are compared with each other: one drive, continuous odometry, one split, and cameras
        # that stay what they are.
        changes = (
            (self.drives[1:] != self.drives[:-1])
            | (segments[1:] != segments[:-1])
            | (self.splits[1:] != self.splits[:-1])
        )
        changes[_recalibrated(table) - 1] = True
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

    def number_in_drive(self, index: int) -> int:
        """How many samples of its drive a sample comes after."""
        return index - int(self._drive_starts[np.searchsorted(self._drive_starts, index, side="right") - 1])

    def rig_sample(self, index: int, cameras: Sequence[str] | None = None) -> RigSample:
        """A sample as the node gets it from its topics: encoded images and their rig.

        Args:
            cameras: read these alone.

        Raises:
            DatasetError: an image file is missing.
        """
        sample = self[index]
        if cameras is not None:
            sample = replace(sample, images=tuple(image for image in sample.images if image.name in cameras))
        frames = []
        for image in sample.images:
            path = self.root / image.file
            try:
                data = path.read_bytes()
            except OSError as error:
                raise DatasetError(f"{path} cannot be read ({error.strerror})") from error
            frames.append(CameraFrame(image.name, image.stamp_ns, "", "jpeg", data))
        return RigSample(sample.stamp_ns, sample.rig, tuple(frames), sample.missing)

    @property
    def label_names(self) -> LabelNames | None:
        """What labels mean, or None where the dataset has no labels.

        Raises:
            DatasetError: `labels.yaml` is wrong.
        """
        return load_label_names(self.root)

    def voxels(self, index: int) -> VoxelLabels | None:
        """The voxel labels of a sample, or None.

        Raises:
            DatasetError: the file is damaged, or nothing says what its labels mean.
        """
        index = range(len(self))[index]
        path = voxels_path(self.root, str(self.drives[index]), int(self.stamps_ns[index]))
        if not path.is_file():
            return None
        names = self.label_names
        if names is None:
            raise DatasetError(f"{self.root} has voxels, but no labels.yaml that says what their labels mean")
        return read_voxels(path, names)

    def class_map(self, index: int, camera: str) -> NDArray[np.uint8] | None:
        """(H, W) class of each pixel of a sample's image, 255 unknown, at the image's own size; or None.

        Raises:
            DatasetError: the file is damaged or of another size than the image.
        """
        found = self._picture_of(index, camera, "classes")
        return None if found is None else read_class_map(*found)

    def depth_map(self, index: int, camera: str) -> NDArray[np.float32] | None:
        """(H, W) depth along the optical axis in metres, 0 unknown, at the image's own size; or None.

        Raises:
            DatasetError: the file is damaged or of another size than the image.
        """
        found = self._picture_of(index, camera, "depth")
        return None if found is None else read_depth_map(*found)

    def ego_mask(self, camera: str) -> NDArray[np.bool_] | None:
        """(H, W), False where a camera sees its own vehicle, at the size of its images; or None.

        Raises:
            DatasetError: the file is damaged.
        """
        path = mask_path(self.root, camera)
        return read_mask(path) if path.is_file() else None

    def network_mask(self, camera: str, recorded: CameraModel, shown: CameraModel) -> NDArray[np.bool_] | None:
        """`ego_mask` as the network sees it, at the size of `shown`; as it was when it was first asked for.

        Raises:
            DatasetError: the mask is damaged, or not of the size of the `recorded` images.
        """
        key = camera, recorded, shown
        if key not in self._masks:
            use = self.ego_mask(camera)
            if use is not None and use.shape != (recorded.height, recorded.width):
                raise DatasetError(
                    f"{self.root}: the mask of camera '{camera}' is {use.shape[1]}x{use.shape[0]}, "
                    f"but its images are {recorded.width}x{recorded.height}"
                )
            self._masks[key] = None if use is None else seen_mask(use, source_pixels(recorded, shown))
        return self._masks[key]

    def _picture_of(self, index: int, camera: str, kind: str) -> tuple[Path, tuple[int, int]] | None:
        """File of an image's class map or depth map, and the image's size; None where there is none."""
        sample = self[index]
        image = sample.image(camera)
        if image is None:
            return None
        path = picture_path(self.root, kind, sample.drive, camera, image.stamp_ns)
        return (path, (image.camera.width, image.camera.height)) if path.is_file() else None

    def clip(
        self,
        indices: Sequence[int],
        size: tuple[int, int],
        cameras: Sequence[str] | None = None,
        labels: ClipLabels = NO_LABELS,
        cache: ImageCache | None = None,
    ) -> Clip:
        """Samples as a training clip, images as the network sees them: undistorted, within `size` (width, height).

        Args:
            indices: T samples of one stretch of a drive, as `along` gives them.
            cameras: which, in this order; None is all that the first sample has.
            labels: which labels to give it; masks of the own vehicle it gets where there are any.
            cache: keeps images of this size, and gives back those that it has.

        Raises:
            DatasetError: a camera is missing in one of the samples, or its calibration changes between them.
            DecodeError: no image of a sample can be decoded.
            ConfigError: labels are asked for that the dataset does not have.
        """
        return assemble_clip(self, indices, size, cameras, labels, cache)


def _recalibrated(table: Any) -> NDArray[np.int64]:
    """Samples (M), none of them the first, at which a camera has another calibration than when it was last there."""
    column = table["cameras"].combine_chunks()
    rows = np.repeat(np.arange(len(column)), column.value_lengths().to_numpy(zero_copy_only=False))
    images = column.flatten()
    names = images.field("name").to_pylist()
    parts = ("width", "height", "k", "distortion_model", "distortion")
    told = zip(*(images.field(part).to_pylist() for part in parts), strict=True)
    last: dict[str, tuple[Any, ...]] = {}
    changed = []
    for row, name, calibration in zip(rows.tolist(), names, told, strict=True):
        if last.setdefault(name, calibration) != calibration:
            changed.append(row)
            last[name] = calibration
    return np.unique(np.array(changed, np.int64))


def _presence(table: Any, cameras: Sequence[str]) -> NDArray[np.bool_]:
    """(N, C), which cameras each sample has."""
    column = table["cameras"].combine_chunks()
    rows = np.repeat(np.arange(len(column)), column.value_lengths().to_numpy(zero_copy_only=False))
    places = {name: place for place, name in enumerate(cameras)}
    presence = np.zeros((len(column), len(cameras)), np.bool_)
    presence[rows, [places[name] for name in column.flatten().field("name").to_pylist()]] = True
    return presence
