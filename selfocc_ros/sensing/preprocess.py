# SPDX-License-Identifier: Apache-2.0
"""A RigSample to what a network sees: undistorted images of one size, and the rig that took these images."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.sensing.decode import Image, Pixels, image_size, read_pixels, to_rgb
from selfocc_ros.sensing.frames import CameraFrame, DecodeError, RigSample
from selfocc_ros.sensing.official_preprocess import OfficialInput

_MAPS_KEPT = 32


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """Images of one size.

    Attributes:
        images: (N,H,W,3) uint8 RGB; a camera's image lies at the top left, the rest is zero.
        rig: N pinhole cameras; width and height are the used part of the image, K is that of the scaled image.
        failed: one sentence per camera that could not be decoded; such cameras are not in the rig.
    """

    images: Image
    rig: CameraRig
    failed: dict[str, str] = field(default_factory=dict)


def preprocess(sample: RigSample, target: tuple[int, int] | OfficialInput) -> NetworkInput:
    """Decode, undistort and scale all images of a sample.

    Images keep their proportions. Given a size (width, height), they are scaled to fit inside it: by area when
    shrinking, linearly when growing. Given an OfficialInput, they are cropped and scaled as the published networks
    expect. What a lens does not show of its undistorted image is black.

    Raises:
        DecodeError: not one camera can be decoded; the message tells why for each.
    """
    width, height = target.network_size if isinstance(target, OfficialInput) else target
    images = np.zeros((len(sample.frames), height, width, 3), dtype=np.uint8)
    cameras: list[CameraModel] = []
    kept: list[int] = []
    failed: dict[str, str] = {}
    for index, (frame, camera) in enumerate(zip(sample.frames, sample.rig.cameras, strict=True)):
        try:
            rgb, used = _one(frame, camera, target)
        except DecodeError as error:
            failed[frame.camera] = str(error)
            continue
        images[len(kept), : used.height, : used.width] = rgb
        kept.append(index)
        cameras.append(used)
    if not kept:
        reasons = "; ".join(failed.values()) or "the sample holds no camera"
        raise DecodeError(f"no image of the sample at {sample.stamp_ns / 1e9:.3f} s can be used: {reasons}")
    rig = CameraRig(tuple(sample.rig.names[i] for i in kept), tuple(cameras), sample.rig.base_from_camera[kept])
    return NetworkInput(images[: len(kept)], rig, failed)


def used_size(size: tuple[int, int], input_size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of an image of `size` scaled to fit inside `input_size`."""
    scale = min(input_size[0] / size[0], input_size[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def check_size(frame: CameraFrame, camera: CameraModel) -> tuple[int, int]:
    """(width, height) of a frame, which is that of its calibration.

    Raises:
        DecodeError: it is not, or the frame is no image.
    """
    found = image_size(frame)
    if found != (camera.width, camera.height):
        raise DecodeError(
            f"camera '{frame.camera}': the image is {found[0]}x{found[1]}, "
            f"but its calibration is for {camera.width}x{camera.height}"
        )
    return found


def _one(frame: CameraFrame, camera: CameraModel, target: tuple[int, int] | OfficialInput) -> tuple[Image, CameraModel]:
    found = check_size(frame, camera)
    if isinstance(target, OfficialInput):
        return _as_published(frame, camera, target)
    used = used_size(found, target)
    pixels = read_pixels(frame, used)
    array, decoded = _shrunk(pixels, camera, used)
    if camera.is_distorted:
        array = _undistort(array, decoded)
    shrinks = used[0] <= decoded.width and used[1] <= decoded.height
    if used != (decoded.width, decoded.height):
        array = _resize(array, used, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    rgb = to_rgb(Pixels(array, pixels.encoding, 1, used))
    return rgb, decoded.undistorted().resized(*used)


def _as_published(frame: CameraFrame, camera: CameraModel, target: OfficialInput) -> tuple[Image, CameraModel]:
    """From the full image, since single pixels of it are read when it is scaled: so the networks were trained."""
    pixels = read_pixels(frame, (camera.width, camera.height))
    array = _undistort(pixels.array, camera) if camera.is_distorted else pixels.array
    rgb = to_rgb(Pixels(array, pixels.encoding, 1, (camera.width, camera.height)))
    scaled = np.rint(target.scaled(rgb)).astype(np.uint8)
    return scaled, target.camera(camera.undistorted()).resized(*target.scaled_size)


def _shrunk(pixels: Pixels, camera: CameraModel, used: tuple[int, int]) -> tuple[Image, CameraModel]:
    """The decoded image and its camera, brought below twice the used size if it must be undistorted.

    Undistorting reads single pixels, so it must not be what shrinks an image; and it costs by the pixel.
    """
    array, reduction = pixels.array, pixels.reduction
    height, width = array.shape[:2]
    if reduction > 1:
        # Exactly `reduction` pixels each way per pixel, even where the last ones reach beyond the full image.
        camera = camera.cropped(0, 0, width * reduction, height * reduction).resized(width, height)
    factor = min(width // used[0], height // used[1])
    if camera.is_distorted and factor > 1:
        width, height = width // factor, height // factor
        camera = camera.cropped(0, 0, width * factor, height * factor).resized(width, height)
        array = _resize(array[: height * factor, : width * factor], (width, height), cv2.INTER_AREA)
    return array, camera


class _UndistortionMaps:
    """Where each pixel of an undistorted image is to be read, for the cameras used last."""

    def __init__(self) -> None:
        self._maps: OrderedDict[str, tuple[NDArray[np.int16], NDArray[np.uint16]]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, camera: CameraModel) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
        key = camera.fingerprint()
        with self._lock:
            if key not in self._maps:
                places, _ = camera.project(camera.undistorted().pixel_rays())
                places = np.where(np.isnan(places), -10.0, places).astype(np.float32)
                first, second = cv2.convertMaps(places[..., 0], places[..., 1], cv2.CV_16SC2)
                self._maps[key] = np.asarray(first, dtype=np.int16), np.asarray(second, dtype=np.uint16)
            self._maps.move_to_end(key)
            while len(self._maps) > _MAPS_KEPT:
                self._maps.popitem(last=False)
            return self._maps[key]


_maps = _UndistortionMaps()


def _undistort(array: Image, camera: CameraModel) -> Image:
    places, fractions = _maps(camera)
    return np.asarray(cv2.remap(array, places, fractions, cv2.INTER_LINEAR), dtype=np.uint8)


def _resize(array: Image, size: tuple[int, int], interpolation: int) -> Image:
    return np.asarray(cv2.resize(array, size, interpolation=interpolation), dtype=np.uint8)
