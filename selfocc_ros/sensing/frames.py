# SPDX-License-Identifier: Apache-2.0
"""One image as it arrived, a set of images that belong together, and both from ROS messages of any kind.

Messages are taken by their fields alone, so those of rclpy and of rosbags, ROS 1 and 2, all fit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.cameras import CalibrationError, CameraModel
from selfocc_ros.geometry.rig import CameraRig

COMPRESSED = ("jpeg", "png")
"""Encodings of frames that hold an image file."""


class DecodeError(SelfOccError, ValueError):
    """An image that cannot be used: names the camera, what was found and what was expected."""


@dataclass(frozen=True, eq=False)
class CameraFrame:
    """One image, still encoded.

    Attributes:
        camera: name of the camera.
        stamp_ns: when it was taken.
        frame_id: optical frame, without a leading slash; may be empty.
        encoding: 'jpeg' or 'png' for an image file, else the encoding of sensor_msgs/Image ('rgb8', ...).
        data: any buffer of bytes (bytes, array.array, numpy array, memoryview), never copied.
        width, height: pixels; 0 for image files, which know it themselves.
        step: bytes per row, padding included; 0 means no padding.
        is_bigendian: as in the message; of no consequence for encodings of 8 bits.
    """

    camera: str
    stamp_ns: int
    frame_id: str
    encoding: str
    data: Any
    width: int = 0
    height: int = 0
    step: int = 0
    is_bigendian: bool = False


@dataclass(frozen=True, eq=False)
class RigSample:
    """Images that belong together, and where their cameras were.

    Attributes:
        stamp_ns: the reference time.
        rig: the cameras that are there. `rig.base_from_camera` is each camera AT ITS OWN STAMP in the base frame at
            `stamp_ns`; intrinsics are those of the full image.
        frames: `frames[i]` belongs to `rig.names[i]`.
        missing: cameras that ought to be there and are not, for whatever reason.
        problems: one sentence per camera that was left out and says why; a sentence under the name of the fixed
            frame means that no camera was left out for it but that motion between the stamps is not accounted for.
    """

    stamp_ns: int
    rig: CameraRig
    frames: tuple[CameraFrame, ...]
    missing: tuple[str, ...] = ()
    problems: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if tuple(frame.camera for frame in self.frames) != self.rig.names:
            found = ", ".join(frame.camera for frame in self.frames)
            raise ValueError(f"a sample's frames must match its rig ({', '.join(self.rig.names)}), found {found}")


def frame_from_message(camera: str, msg: Any, receive_ns: int | None = None) -> CameraFrame:
    """A frame from a sensor_msgs Image or CompressedImage; its data stays the message's own buffer.

    Args:
        camera: name of the camera.
        msg: anything with the message's fields.
        receive_ns: when the message was received. Some writers leave header stamps empty; a stamp of zero is
            replaced by this time where it is given, for a receive time is all that such a recording knows.

    Raises:
        DecodeError: a CompressedImage whose format is neither JPEG nor PNG (compressedDepth, for example).
    """
    header = msg.header
    stamp_ns = int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)
    if stamp_ns == 0 and receive_ns is not None:
        stamp_ns = receive_ns
    frame_id = str(header.frame_id).lstrip("/")
    if not hasattr(msg, "encoding"):
        encoding = _file_type(camera, str(msg.format), msg.data)
        return CameraFrame(camera, stamp_ns, frame_id, encoding, msg.data)
    return CameraFrame(
        camera,
        stamp_ns,
        frame_id,
        str(msg.encoding),
        msg.data,
        int(msg.width),
        int(msg.height),
        int(msg.step),
        bool(msg.is_bigendian),
    )


def _file_type(camera: str, declared: str, data: Any) -> str:
    """'jpeg' or 'png' from CompressedImage.format: 'jpeg', 'bgr8; jpeg compressed bgr8', 'rgb8; png compressed rgb8'.

    The encodings named there are not needed: the file itself defines its colours. Where the format says nothing, the
    file's first bytes do.
    """
    words = re.split(r"[^a-z0-9]+", declared.lower())
    if "compresseddepth" not in words:
        if "jpeg" in words or "jpg" in words:
            return "jpeg"
        if "png" in words:
            return "png"
        start = bytes(memoryview(data)[:4]) if not declared.strip() else b""
        if start.startswith(b"\xff\xd8\xff"):
            return "jpeg"
        if start == b"\x89PNG":
            return "png"
    raise DecodeError(f"camera '{camera}': compressed format '{declared}' is not supported, expected jpeg or png")


def camera_from_info(msg: Any, rectified: bool = False) -> CameraModel:
    """The intrinsics of a sensor_msgs CameraInfo (fields `k`, `d` of ROS 2 or `K`, `D` of ROS 1).

    A region of interest and binning are applied, so that the camera is that of the images sent. The rectification
    matrix R is not needed: header.frame_id names the frame of the camera as it is, which is where K and D hold.

    Args:
        msg: anything with the message's fields.
        rectified: the images are rectified (topics `image_rect*`): P holds for them instead of K, and no distortion.
            P all zero counts as not filled in, and K is used.

    Raises:
        CalibrationError: as `CameraModel`; K[0] == 0 means uncalibrated.
    """
    k = np.array(_field(msg, "k"), dtype=np.float64)
    d = [float(c) for c in _field(msg, "d")]
    model = str(msg.distortion_model)
    if rectified:
        p = np.array(_field(msg, "p"), dtype=np.float64)
        d, model = [], ""
        if p.size == 12 and p.any():
            k = p.reshape(3, 4)[:, :3]
    camera = CameraModel.from_camera_info(int(msg.width), int(msg.height), k, d, model)
    roi = getattr(msg, "roi", None)
    if roi is not None and int(roi.width) > 0 and int(roi.height) > 0:
        camera = camera.cropped(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height))
    bins = max(1, int(getattr(msg, "binning_x", 0))), max(1, int(getattr(msg, "binning_y", 0)))
    if bins != (1, 1):
        width, height = camera.width // bins[0], camera.height // bins[1]
        camera = camera.cropped(0, 0, width * bins[0], height * bins[1]).resized(width, height)
    return camera


def _field(msg: Any, name: str) -> Any:
    for spelling in (name, name.upper()):
        if hasattr(msg, spelling):
            return getattr(msg, spelling)
    raise CalibrationError(f"a CameraInfo message has a field '{name}' or '{name.upper()}', found neither")
