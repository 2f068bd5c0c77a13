# SPDX-License-Identifier: Apache-2.0
"""The truth of a drive as files beside its recording, in the form that datasets take labels in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selfocc_ros.geometry.voxels import OCC3D
from selfocc_ros.logs.labels import LabelNames, depth_pixels, save_label_names, write_picture, write_voxels
from selfocc_ros.town.class_noise import noisy_classes
from selfocc_ros.town.objects import Label
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import TownFrame, truth_volume

CLASSES = ("others", *(label.name.lower() for label in Label if label not in (Label.OTHER, Label.FREE)))
"""Names as Occ3D has them."""

_NOISE_STREAM = 30


class TruthFolder:
    """Writes ``labels.yaml``, ``voxels/``, ``classes/`` and ``depth/``.

    Args:
        folder: where; it is made.
        town: where the drive is.
        class_noise: share of each class map that is wrong (see ``noisy_classes``); voxels and depth stay exact.
    """

    def __init__(self, folder: Path, town: Town, class_noise: float = 0.0) -> None:
        self._folder, self._town, self._noise = folder, town, class_noise
        save_label_names(folder, LabelNames(CLASSES, int(Label.FREE), OCC3D))

    def write(self, frame: TownFrame) -> None:
        """Write what was there at a frame's stamps."""
        volume = truth_volume(self._town, frame)
        masks = {"mask_camera": volume.camera_mask, "above_ground": volume.above_ground}
        write_voxels(self._folder / "voxels" / f"{frame.stamp_ns}.npz", volume.classes, masks)
        for n, (name, stamp_ns, view) in enumerate(zip(frame.rig.names, frame.stamps_ns, frame.views, strict=True)):
            rng = np.random.default_rng((self._town.seed, stamp_ns, n, _NOISE_STREAM))
            classes = noisy_classes(view.classes, self._noise, rng)
            write_picture(self._folder / "classes" / name / f"{stamp_ns}.png", classes)
            write_picture(self._folder / "depth" / name / f"{stamp_ns}.png", depth_pixels(view.depth))
