# SPDX-License-Identifier: Apache-2.0
"""Encoded frames to RGB pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.sensing.frames import COMPRESSED, CameraFrame, DecodeError
from selfocc_ros.sensing.rare_encodings import RARE, reduced

Image = NDArray[np.uint8]

RAW = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC3": 3, "8UC1": 1}
"""Encodings of sensor_msgs/Image that can be read, and their channels. 8UC3 is taken as bgr8, 8UC1 as mono8."""

_TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "8UC3": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "8UC1": cv2.COLOR_GRAY2RGB,
}
_REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
_REDUCED[8] = cv2.IMREAD_REDUCED_COLOR_8
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded pixels before colours are put in order.

    Attributes:
        array: (H,W,C) or (H,W) uint8; may be a read-only view of the message with padded rows.
        encoding: one of RAW, how to read the channels.
        reduction: 1, 2, 4 or 8: pixel i covers the full image's pixels from i * reduction on. Of a size that is no
            multiple, the last pixel reaches beyond the full image.
        full_size: (width, height) of the full image.
    """

    array: Image
    encoding: str
    reduction: int
    full_size: tuple[int, int]


def decode(frame: CameraFrame, min_size: tuple[int, int] | None = None) -> Image:
    """RGB pixels (H,W,3) uint8 of a frame.

    Args:
        frame: JPEG, PNG, one of RAW or of RARE. 16 bits are reduced to 8, alpha is dropped; an orientation in EXIF
            is not obeyed, for intrinsics are those of the sensor.
        min_size: (width, height); a JPEG is decoded at the smallest of 1/1, 1/2, 1/4 and 1/8 of its size that is not
            below it in either direction, which is several times faster. Other encodings keep their size.

    Returns:
        For rgb8 a view of the message, read-only where the message's buffer is.

    Raises:
        DecodeError: an unknown encoding, damaged data, or sizes that contradict each other.
    """
    return to_rgb(read_pixels(frame, min_size))


def to_rgb(pixels: Pixels) -> Image:
    """RGB (H,W,3) of decoded pixels; rgb8 is returned as it is."""
    code = _TO_RGB.get(pixels.encoding)
    return pixels.array if code is None else _uint8(cv2.cvtColor(pixels.array, code))


def read_pixels(frame: CameraFrame, min_size: tuple[int, int] | None = None) -> Pixels:
    """Decoded pixels in the order of channels they have; see `decode`."""
    if frame.encoding in COMPRESSED:
        return _read_file(frame, min_size)
    if frame.encoding in RAW or frame.encoding in RARE:
        return _read_raw(frame)
    raise _unsupported(frame)


def is_readable(encoding: str) -> bool:
    """Whether images of this encoding can be decoded here."""
    return encoding in COMPRESSED or encoding in RAW or encoding in RARE


def image_size(frame: CameraFrame) -> tuple[int, int]:
    """(width, height) of a frame, for image files from their header alone.

    Raises:
        DecodeError: there is no such header, or it is unknown how to read the encoding.
    """
    if not is_readable(frame.encoding):
        raise _unsupported(frame)
    if frame.encoding not in COMPRESSED:
        return frame.width, frame.height
    data = memoryview(frame.data).cast("B")
    if bytes(data[:8]) == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return int(width), int(height)
    return _parse_jpeg(frame, data)[:2]


def _unsupported(frame: CameraFrame) -> DecodeError:
    supported = ", ".join((*COMPRESSED, *RAW, *RARE))
    return DecodeError(
        f"camera '{frame.camera}': encoding '{frame.encoding}' is not supported, expected one of {supported}"
    )


def whole_image_size(frame: CameraFrame) -> tuple[int, int]:
    """(width, height) of a frame that is worth keeping: as `image_size`, but a cut off JPEG is refused.

    Raises:
        DecodeError: there is no header of an image, or a JPEG has no end.
    """
    size = image_size(frame)
    if frame.encoding == "jpeg":
        _check_complete(frame, memoryview(frame.data).cast("B"))
    return size


def _read_raw(frame: CameraFrame) -> Pixels:
    channels = RAW.get(frame.encoding) or RARE[frame.encoding]
    where = f"camera '{frame.camera}'"
    if frame.width < 1 or frame.height < 1:
        raise DecodeError(f"{where}: the image size must be at least 1x1, found {frame.width}x{frame.height}")
    row = frame.width * channels
    step = frame.step or row
    if step < row:
        raise DecodeError(
            f"{where}: step is {step} bytes, but a row of {frame.width} pixels {frame.encoding} takes {row}"
        )
    data = np.frombuffer(frame.data, dtype=np.uint8)
    if data.size != step * frame.height:
        raise DecodeError(
            f"{where}: {data.size} bytes of data, expected {step * frame.height} "
            f"({frame.height} rows of {step}, {frame.encoding})"
        )
    if frame.encoding in RARE:
        rows: Image = np.lib.stride_tricks.as_strided(data, (frame.height, row), (step, 1), writeable=False)
        try:
            reduced_array, common = reduced(rows, frame.encoding, frame.is_bigendian)
        except cv2.error as error:
            raise DecodeError(
                f"{where}: an image of {frame.width}x{frame.height} cannot be {frame.encoding} ({error.err})"
            ) from error
        return Pixels(reduced_array, common, 1, (frame.width, frame.height))
    shape = (frame.height, frame.width, channels) if channels > 1 else (frame.height, frame.width)
    strides = (step, channels, 1)[: len(shape)]
    array: Image = np.lib.stride_tricks.as_strided(data, shape, strides, writeable=data.flags.writeable)
    return Pixels(array, frame.encoding, 1, (frame.width, frame.height))


def _read_file(frame: CameraFrame, min_size: tuple[int, int] | None) -> Pixels:
    data = memoryview(frame.data).cast("B")
    width, height = image_size(frame)
    reduction = 1
    if bytes(data[:2]) == b"\xff\xd8":
        _check_complete(frame, data)
        if min_size is not None:
            reduction = max(
                d for d in _REDUCED if d == 1 or (-(-width // d) >= min_size[0] and -(-height // d) >= min_size[1])
            )
    flags = _REDUCED[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        array = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:  # sizes beyond OpenCV's limits are thrown, not returned as None
        raise DecodeError(f"camera '{frame.camera}': the {frame.encoding} cannot be decoded ({error.err})") from error
    if array is None:
        raise DecodeError(
            f"camera '{frame.camera}': {len(data)} bytes declared as {frame.encoding} are damaged and cannot be decoded"
        )
    return Pixels(_uint8(array), "bgr8", reduction, (width, height))


def _parse_jpeg(frame: CameraFrame, data: memoryview) -> tuple[int, int, int]:
    """Width, height and the place of the frame header of a JPEG (ITU T.81, annex B)."""
    at = 2
    if bytes(data[:2]) == b"\xff\xd8":
        while at + 9 <= len(data) and data[at] == 0xFF:
            marker = data[at + 1]
            if marker in _START_OF_FRAME:
                height, width = struct.unpack(">HH", data[at + 5 : at + 9])
                if width > 0 and height > 0:
                    return int(width), int(height), at
                break
            if marker == 0xFF:  # fill byte
                at += 1
            elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a length
                at += 2
            else:
                at += 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
    found = bytes(data[:4]).hex(" ") or "nothing"
    raise DecodeError(
        f"camera '{frame.camera}': {len(data)} bytes declared as {frame.encoding} (beginning with {found}) "
        f"have no header of a JPEG or PNG image"
    )


def _check_complete(frame: CameraFrame, data: memoryview) -> None:
    """Refuse a JPEG without an end: the decoder would fill the rest with grey and say nothing."""
    if bytes(data[-2:]) == b"\xff\xd9":
        return
    start = _parse_jpeg(frame, data)[2]  # an embedded preview has its own end before this place
    if bytes(data[start:]).find(b"\xff\xd9") < 0:
        raise DecodeError(f"camera '{frame.camera}': the jpeg of {len(data)} bytes is cut off, its end is missing")


def _uint8(array: object) -> Image:
    return np.asarray(array, dtype=np.uint8)
