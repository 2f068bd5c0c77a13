# SPDX-License-Identifier: Apache-2.0
"""Pictures of depth beside the camera's own picture."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.viz.colours import depth_colours
from selfocc_ros.viz.text import PAPER, write

Image = NDArray[np.uint8]


def depth_strip(image: Image, depths: Mapping[str, NDArray[np.float32]]) -> Image:
    """A camera's picture and depth maps side by side, each (H,W) of the picture.

    Args:
        image: (H,W,3) uint8 RGB.
        depths: title -> (h,w) z-depth in metres, scaled up to the picture's size; not finite or <= 0 is black.
    """
    height, width = image.shape[:2]
    parts = [image.copy()]
    for title, depth in depths.items():
        part = cv2.resize(depth_colours(depth), (width, height), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
        write(part, title, (8, 20), 0.5, PAPER, halo=(0, 0, 0))
        parts.append(part)
    return np.hstack(parts)
