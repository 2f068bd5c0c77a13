# SPDX-License-Identifier: Apache-2.0
"""Images as a network sees them, kept on disk, so that a training run decodes each of them once.

``cache/<width>x<height>-<fingerprint>/<drive>/<camera>.raw`` below the dataset holds one record a sample, found by its
number: stamp, checksum, pixels. The fingerprint is that of the camera's calibration. Records are filled in as they are
needed; one that is not there, or not whole, is decoded again, so that nothing but time is lost with the folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_training.dataset.sample import CameraImage

FOLDER = "cache"
_VERSION = 1
"""Of what preprocessing makes of an image; another number makes other files."""

_HEAD = struct.Struct("<qI4x")


class ImageCache:
    """Images of one size of a dataset.

    Args:
        root: the dataset's folder.
        size: (width, height) of the network's input.

    Attributes:
        folder: where the images lie.
        trouble: one sentence once the folder cannot be written; nothing is written from then on.
        warn: called with that sentence, once.
    """

    def __init__(self, root: Path, size: tuple[int, int]) -> None:
        self.folder, self.size = root / FOLDER, size
        self._cameras: dict[str, CameraModel] = {}
        self.trouble: str | None = None
        self.warn: Callable[[str], None] = lambda _: None

    @property
    def image_bytes(self) -> int:
        """Disk space of one image."""
        return _HEAD.size + 3 * self.size[0] * self.size[1]

    def read(self, drive: str, number: int, image: CameraImage) -> tuple[NDArray[np.uint8], CameraModel] | None:
        """An image (3, H, W) and the camera that it seems to come from, or None where it has not been kept.

        Args:
            number: of the sample within its drive.
        """
        key = self._key(image.camera)
        camera = self._camera(key)
        if camera is None:
            return None
        try:
            with self._path(key, drive, image.name).open("rb", buffering=0) as file:
                file.seek(number * self.image_bytes)
                data = file.read(self.image_bytes)
        except OSError:
            return None
        if len(data) != self.image_bytes:
            return None
        stamp, checksum = _HEAD.unpack_from(data)
        pixels = memoryview(data)[_HEAD.size :]
        if stamp != image.stamp_ns or zlib.crc32(pixels) != checksum:
            return None
        return np.frombuffer(pixels, np.uint8).reshape(3, self.size[1], self.size[0]), camera

    def write(
        self, drive: str, number: int, image: CameraImage, pixels: NDArray[np.uint8], camera: CameraModel
    ) -> None:
        """Keep an image (3, H, W); where the folder cannot be written, `trouble` says so and no other is tried."""
        if self.trouble is not None:
            return
        key = self._key(image.camera)
        kept = np.ascontiguousarray(pixels).tobytes()
        data = _HEAD.pack(image.stamp_ns, zlib.crc32(kept)) + kept
        path = self._path(key, drive, image.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if key not in self._cameras:
                self._keep_camera(key, camera)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                if os.pwrite(handle, data, number * self.image_bytes) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a disk that fills up takes a part
            finally:
                os.close(handle)
        except OSError as error:
            self.trouble = f"{self.folder} takes no more images at the network's size ({error.strerror or error})"
            self.warn(self.trouble)

    def _key(self, camera: CameraModel) -> str:
        told = hashlib.sha256(f"{_VERSION} {camera.fingerprint()}".encode()).hexdigest()[:12]
        return f"{self.size[0]}x{self.size[1]}-{told}"

    def _path(self, key: str, drive: str, camera: str) -> Path:
        return self.folder / key / drive / f"{camera}.raw"

    def _camera(self, key: str) -> CameraModel | None:
        if key not in self._cameras:
            try:
                values = json.loads((self.folder / key / "camera.json").read_text(encoding="utf-8"))
                self._cameras[key] = CameraModel(values["width"], values["height"], np.array(values["k"]))
            except (OSError, ValueError, KeyError):
                return None
        return self._cameras[key]

    def _keep_camera(self, key: str, camera: CameraModel) -> None:
        part = self.folder / key / f"camera.{os.getpid()}.part"
        values = {"width": camera.width, "height": camera.height, "k": camera.matrix.tolist()}
        part.write_text(json.dumps(values) + "\n", encoding="utf-8")
        part.replace(self.folder / key / "camera.json")
        self._cameras[key] = camera
