# SPDX-License-Identifier: Apache-2.0
"""The images of a sample as a network sees them: from the cache, or decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.sensing.frames import DecodeError
from selfocc_ros.sensing.preprocess import preprocess
from selfocc_training.dataset.cache import ImageCache
from selfocc_training.dataset.parquet import DatasetError
from selfocc_training.dataset.sample import CameraImage, Sample

if TYPE_CHECKING:
    from selfocc_training.dataset.dataset import Dataset


def show_images(
    dataset: Dataset,
    index: int,
    sample: Sample,
    present: Sequence[CameraImage],
    images: NDArray[np.uint8],
    cache: ImageCache | None,
) -> tuple[CameraModel, ...]:
    """Fill ``images`` (N, 3, H, W) with what the network sees; returns the cameras of these pictures.

    Args:
        present: which of the sample's images.
        cache: where they may be, and where those that are not are put.

    Raises:
        DatasetError: an image file is missing.
        DecodeError: none of the images can be decoded.
    """
    height, width = images.shape[-2:]
    number = dataset.number_in_drive(index)
    kept = [cache.read(sample.drive, number, image) if cache is not None else None for image in present]
    unknown = tuple(image.name for image, found in zip(present, kept, strict=True) if found is None)
    decoded = preprocess(dataset.rig_sample(index, unknown), (width, height)) if unknown else None
    cameras = []
    for n, (image, found) in enumerate(zip(present, kept, strict=True)):
        if found is None:
            if decoded is None or image.name not in decoded.rig.names:
                raise no_image(dataset, sample, image.name)
            place = decoded.rig.names.index(image.name)
            found = decoded.images[place].transpose(2, 0, 1), decoded.rig.cameras[place]
            if cache is not None:
                cache.write(sample.drive, number, image, *found)
        images[n] = found[0]
        cameras.append(found[1])
    return tuple(cameras)


def no_image(dataset: Dataset, sample: Sample, camera: str) -> DatasetError:
    """The error to raise where a camera is missing."""
    return DatasetError(f"{dataset.root}: the sample of {sample.drive} at {sample.stamp_ns} has no image of '{camera}'")


def fill_cache(dataset: Dataset, size: tuple[int, int], tell: Callable[[int], None] | None = None) -> int:
    """Put all images of a dataset into its cache; returns the bytes that they take on disk.

    Args:
        size: (width, height) of the network's input.
        tell: called with the number of samples so far.

    Raises:
        DatasetError: the cache cannot be written.
    """
    cache, kept = ImageCache(dataset.root, size), 0
    for index in range(len(dataset)):
        sample = dataset[index]
        images = np.zeros((len(sample.images), 3, size[1], size[0]), np.uint8)
        try:
            show_images(dataset, index, sample, sample.images, images, cache)
        except (DatasetError, DecodeError):
            continue  # training leaves such a sample out, or says what is wrong with it
        if cache.trouble is not None:
            raise DatasetError(cache.trouble)
        kept += len(images)
        if tell is not None:
            tell(index + 1)
    return kept * cache.image_bytes
