# SPDX-License-Identifier: Apache-2.0
"""Class maps as a segmentation network would make them: wrong in patches."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from selfocc_ros.town.objects import Label

PATCH = 1.0 / 40.0
"""Standard deviation of the blur that patches come from, as a share of the image's width: they are about four times
as wide."""


def noisy_classes(classes: npt.NDArray[np.uint8], share: float, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Class map (H, W) of which a share is wrong, in connected patches.

    Patches are where blurred white noise is highest, just as much of it as ``share`` says. Within a patch every true
    class is taken for another one, drawn anew for each patch: whatever lies in a patch is mistaken as a whole, and the
    outlines of things stay inside it. Sky counts as a class; unknown pixels (255) stay unknown.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"the share of wrong classes must be from 0 to 1, found {share:g}")
    height, width = classes.shape
    wrong = round(share * height * width)
    if not wrong:
        return classes.copy()
    field = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), max(1.0, PATCH * width)).ravel()
    chosen = np.zeros(height * width, np.uint8)
    chosen[np.argpartition(field, -wrong)[-wrong:]] = 1
    count, patches = cv2.connectedComponents(chosen.reshape(height, width), connectivity=4)
    labels = len(Label)
    # Patch 0 is what lies outside of all patches: nothing is added there.
    shift = rng.integers(1, labels, (count, labels))
    shift[0] = 0
    known = np.minimum(classes, labels - 1)
    mistaken = (known + shift[patches, known]) % labels
    return np.where(classes < labels, mistaken, classes).astype(np.uint8)
