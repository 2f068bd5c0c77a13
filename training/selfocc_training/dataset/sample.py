# SPDX-License-Identifier: Apache-2.0
"""One row of a dataset's index: images taken together, where the cameras were, and how far the vehicle had come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.rig import CameraRig


@dataclass(frozen=True, eq=False)
class CameraImage:
    """One image of a sample.

    Attributes:
        name: camera.
        file: JPEG, relative to the dataset's folder.
        stamp_ns: when it was taken.
        camera: intrinsics of the image in the file, lens included.
        base_from_camera: (4, 4), the optical frame at `stamp_ns` in the base frame at the sample's stamp.
        odom_from_camera: (4, 4), the optical frame at `stamp_ns` in the fixed frame.
    """

    name: str
    file: str
    stamp_ns: int
    camera: CameraModel
    base_from_camera: NDArray[np.float64]
    odom_from_camera: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """Images that belong together.

    Attributes:
        drive: name of the drive.
        stamp_ns: the reference time.
        segment: odometry is continuous within a segment; positions of different segments cannot be compared.
        distance_m: metres travelled since the drive began.
        odom_from_base: (4, 4), the base frame at `stamp_ns` in the fixed frame.
        images: cameras that are there.
        missing: names of those that ought to be.
        split: "train", "val", or "gap" for what lies between the two and belongs to neither.
    """

    drive: str
    stamp_ns: int
    segment: int
    distance_m: float
    odom_from_base: NDArray[np.float64]
    images: tuple[CameraImage, ...]
    missing: tuple[str, ...] = ()
    split: str = ""

    @property
    def rig(self) -> CameraRig:
        """The cameras with their poses in the base frame at `stamp_ns`."""
        return CameraRig(
            tuple(image.name for image in self.images),
            tuple(image.camera for image in self.images),
            np.array([image.base_from_camera for image in self.images]),
        )

    def image(self, camera: str) -> CameraImage | None:
        """The image of a camera, or None where it is missing."""
        return next((image for image in self.images if image.name == camera), None)

    def to_row(self) -> dict[str, Any]:
        """Plain values for the columns of `parquet.schema(False)`; matrices row by row."""
        return {
            "drive": self.drive,
            "stamp_ns": self.stamp_ns,
            "segment": self.segment,
            "distance_m": self.distance_m,
            "odom_from_base": self.odom_from_base.reshape(-1).tolist(),
            "missing": list(self.missing),
            "cameras": [
                {
                    "name": image.name,
                    "file": image.file,
                    "stamp_ns": image.stamp_ns,
                    "width": image.camera.width,
                    "height": image.camera.height,
                    "k": image.camera.matrix.reshape(-1).tolist(),
                    "distortion_model": image.camera.model,
                    "distortion": list(image.camera.distortion),
                    "base_from_camera": image.base_from_camera.reshape(-1).tolist(),
                    "odom_from_camera": image.odom_from_camera.reshape(-1).tolist(),
                }
                for image in self.images
            ],
        }

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> Sample:
        """The inverse of `to_row`, with the split where the row has one."""
        images = tuple(
            CameraImage(
                item["name"],
                item["file"],
                item["stamp_ns"],
                CameraModel(
                    item["width"], item["height"], np.array(item["k"]).reshape(3, 3),
                    item["distortion_model"], tuple(item["distortion"]),
                ),
                _matrix(item["base_from_camera"]),
                _matrix(item["odom_from_camera"]),
            )
            for item in row["cameras"]
        )  # fmt: skip
        return Sample(
            row["drive"], row["stamp_ns"], row["segment"], row["distance_m"], _matrix(row["odom_from_base"]), images,
            tuple(row["missing"]), row.get("split") or "",
        )  # fmt: skip


def _matrix(values: list[float]) -> NDArray[np.float64]:
    return np.array(values, np.float64).reshape(4, 4)
