# SPDX-License-Identifier: Apache-2.0
"""Images as the published SelfOcc networks take them: cropped at the top left, normalised, scaled, padded.

Their geometry is told in pixels of the crop, whatever size the network sees: ``OfficialInput.camera`` gives the
camera of the crop, ``OfficialInput.focal_ratios`` what share of the network's input the crop fills.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.sensing.decode import Image

NUSCENES_MEAN, NUSCENES_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""RGB, of ImageNet; what the networks for nuScenes are trained with."""
KITTI_MEAN, KITTI_STD = (124.16, 116.74, 103.94), (58.624, 57.344, 57.6)
"""RGB; what the networks for KITTI are trained with."""


class OfficialInputError(SelfOccError, ValueError):
    """Settings that do not hold together."""


@dataclass(frozen=True)
class OfficialInput:
    """What is done to every image. Sizes are (width, height) in pixels.

    Attributes:
        crop: the part at the top left that is used; beyond the end of a smaller image the input is zero.
        scale: the crop is scaled by this, sizes rounded down.
        pad_multiple: the network's input is padded to a multiple of this, right and below.
        pad_to: it is padded to this size instead.
        pad_ratio: pad_to over the crop, per axis, as a published configuration states it (rounded); the networks were
            trained with what follows from it. None: what follows from the sizes.
        mean, std: per channel, RGB, in 0..255.
        camera_width: images of another width are first scaled to this one; None takes them as they are.

    Raises:
        OfficialInputError: a size, the scale or a deviation is not above 0, or the padding cuts.
    """

    crop: tuple[int, int]
    scale: float = 1.0
    pad_multiple: int = 32
    pad_to: tuple[int, int] | None = None
    pad_ratio: tuple[float, float] | None = None
    mean: tuple[float, float, float] = NUSCENES_MEAN
    std: tuple[float, float, float] = NUSCENES_STD
    camera_width: int | None = None

    def __post_init__(self) -> None:
        positive = {
            "crop": min(self.crop),
            "scale": self.scale,
            "pad_multiple": self.pad_multiple,
            "pad_ratio": min(self.pad_ratio or (1.0,)),
            "std": min(self.std),
            "camera_width": self.camera_width or 1,
        }
        for name, value in positive.items():
            if not value > 0:
                raise OfficialInputError(f"{name} of the network's input must be above 0, found {getattr(self, name)}")
        width, height = self.scaled_size
        if min(width, height) < 1 or any(a < b for a, b in zip(self.network_size, self.scaled_size, strict=True)):
            raise OfficialInputError(
                f"a crop of {self.crop[0]}x{self.crop[1]} scaled by {self.scale:g} is {width}x{height}, "
                f"which does not fit into {self.network_size[0]}x{self.network_size[1]}"
            )

    @property
    def scaled_size(self) -> tuple[int, int]:
        """(width, height) of the scaled crop."""
        return int(self.crop[0] * self.scale), int(self.crop[1] * self.scale)

    @property
    def network_size(self) -> tuple[int, int]:
        """(width, height) of the network's input."""
        if self.pad_to is not None:
            return self.pad_to
        width, height = (math.ceil(size / self.pad_multiple) * self.pad_multiple for size in self.scaled_size)
        return width, height

    @property
    def focal_ratios(self) -> tuple[float, float]:
        """Share (x, y) of the network's input that the crop fills.

        A pixel at u / crop width of the crop lies at this times ratio of the network's input.
        """
        if self.pad_ratio is not None:
            return self.scale / self.pad_ratio[0], self.scale / self.pad_ratio[1]
        used, padded = self.scaled_size, self.network_size
        return used[0] / padded[0], used[1] / padded[1]

    def camera(self, camera: CameraModel) -> CameraModel:
        """The camera of the crop; its pixels are those that projections into the network's images are told in."""
        width, height = self._camera_size((camera.width, camera.height))
        return camera.resized(width, height).cropped(0, 0, *self.crop)

    def scaled(self, image: Image) -> NDArray[np.float32]:
        """The scaled crop of an image, before it is normalised and padded.

        Args:
            image: (H, W, 3) RGB of an undistorted image.

        Returns:
            (height, width, 3) of ``scaled_size``, 0..255; ``mean`` beyond the end of a smaller image.
        """
        size = self._camera_size((image.shape[1], image.shape[0]))
        if size != (image.shape[1], image.shape[0]):
            shrinks = size[0] < image.shape[1]
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))
        shown = image[: self.crop[1], : self.crop[0]]
        crop = np.full((self.crop[1], self.crop[0], 3), self.mean, dtype=np.float32)
        crop[: shown.shape[0], : shown.shape[1]] = shown
        # Single pixels are read, shrinking or not: so the published networks saw their training images. They were
        # normalised before they were scaled; the other way round is the same but for rounding, and cheaper.
        return np.asarray(cv2.resize(crop, self.scaled_size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)

    def prepare(self, image: Image) -> NDArray[np.float32]:
        """What the network takes: (3, height, width) of ``network_size``, zero where padded.

        Args:
            image: (H, W, 3) RGB of an undistorted image.
        """
        mean, std = np.array(self.mean, dtype=np.float32), np.array(self.std, dtype=np.float32)
        normalised = (self.scaled(image) - mean) / std
        width, height = self.network_size
        out = np.zeros((3, height, width), dtype=np.float32)
        out[:, : normalised.shape[0], : normalised.shape[1]] = normalised.transpose(2, 0, 1)
        return out

    def _camera_size(self, size: tuple[int, int]) -> tuple[int, int]:
        if self.camera_width is None or size[0] == self.camera_width:
            return size
        return self.camera_width, max(1, round(size[1] * self.camera_width / size[0]))
