# SPDX-License-Identifier: Apache-2.0
"""Encodings of industrial cameras, reduced to the common ones: 16 bits, Bayer mosaics, colours for pairs of pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_DEEP = {"mono16": "mono8", "16UC1": "mono8", "rgb16": "rgb8", "bgr16": "bgr8", "16UC3": "bgr8",
         "rgba16": "rgba8", "bgra16": "bgra8"}  # fmt: skip
_CHANNELS = {"mono8": 1, "rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4}

# OpenCV calls a mosaic by the colours of the second row, from the second pixel on; ROS by those of the first row.
_MOSAICS = {
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
}
_PAIRS = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}

RARE = {
    **{deep: 2 * _CHANNELS[common] for deep, common in _DEEP.items()},
    **{f"{mosaic}{bits}": bits // 8 for mosaic in _MOSAICS for bits in (8, 16)},
    **dict.fromkeys(_PAIRS, 2),
}
"""The encodings of sensor_msgs/Image that are read here, and their bytes per pixel."""


def reduced(rows: Image, encoding: str, is_bigendian: bool) -> tuple[Image, str]:
    """Pixels of a common encoding, and which one.

    Of 16 bits the upper 8 are kept. A mosaic of odd size or a pair without its second pixel is a size that no camera
    of the kind has.

    Args:
        rows: (H, W * bytes per pixel) without padding.
        encoding: one of RARE.
        is_bigendian: as in the message.

    Raises:
        cv2.error: OpenCV refuses the size.
    """
    if encoding in _PAIRS:
        pairs = np.ascontiguousarray(rows).reshape(len(rows), -1, 2)
        return np.asarray(cv2.cvtColor(pairs, _PAIRS[encoding]), np.uint8), "rgb8"
    deep = encoding.endswith("16") or encoding.startswith("16")
    eight = np.ascontiguousarray(rows[:, 0 if is_bigendian else 1 :: 2]) if deep else np.ascontiguousarray(rows)
    if encoding in _DEEP:
        common = _DEEP[encoding]
        shape = (len(rows), -1, _CHANNELS[common]) if _CHANNELS[common] > 1 else (len(rows), -1)
        return eight.reshape(shape), common
    return np.asarray(cv2.cvtColor(eight, _MOSAICS[encoding.rstrip("0123456789")]), np.uint8), "rgb8"
