# SPDX-License-Identifier: Apache-2.0
"""The network that labels: from the images of one moment to a viewpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selfocc_ros.geometry.poses import invert
from selfocc_ros.model.families import Network
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.runtime.predictor import choose_device
from selfocc_ros.runtime.visibility import SAMPLES, SightLines
from selfocc_ros.sensing.preprocess import NetworkInput
from selfocc_training.distil.config import FusionConfig
from selfocc_training.distil.fusion import FusedField, Viewpoint
from selfocc_training.distil.labels import voxel_labels


class Teacher:
    """Owns network, device and the cached geometry of the rig seen last."""

    def __init__(self, model: Network, device: str = "auto", ground_z: float = 0.0) -> None:
        """``ground_z``: height of the road in base_link, metres."""
        self.device = choose_device(device)
        self.model: Any = model.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.config = model.config
        self.base_from_ground = np.eye(4)
        self.base_from_ground[2, 3] = ground_z
        self.grid = self.config.grid.shifted(ground_z)
        """Voxels in base_link."""
        self._fingerprint = ""
        self._geometry: tuple[Any, SightLines] | None = None

    @torch.inference_mode()
    def look(
        self, seen: NetworkInput, odom_from_base: NDArray[np.float64], travelled_m: float, clamp_m: float
    ) -> Viewpoint:
        """The network's volume of one moment, and which of its voxels the cameras see.

        Args:
            seen: images of the network's input size, with their rig in base_link.
            odom_from_base: (4, 4) at the moment's reference stamp.
            travelled_m: metres since the drive began.
            clamp_m: signed distances are clamped to plus and minus this.
        """
        size = self.config.input
        rig = seen.rig.shifted(invert(self.base_from_ground))
        if self._geometry is None or rig.fingerprint() != self._fingerprint:
            tensors = RigTensors.from_rig(rig, self.device)
            sight = SightLines.of(tensors, self.config.grid, (size.width, size.height))
            self._geometry, self._fingerprint = (self.model.prepare(tensors), sight), rig.fingerprint()
        cache, sight = self._geometry
        images = torch.from_numpy(seen.images).to(self.device).permute(0, 3, 1, 2).float()
        scene = self.model.encode(images, cache)
        reach = self.model.render(scene, sight.origins, sight.directions, samples=SAMPLES).median_distance()
        corners = self.model.corner_distances(scene).float()
        pose = odom_from_base @ self.base_from_ground
        return Viewpoint.of(corners, sight.seen_voxels(reach), pose, travelled_m, clamp_m)

    def labels(self, own: Viewpoint, fused: FusedField, config: FusionConfig) -> NDArray[np.uint8]:
        """(X, Y, Z) labels of one moment, by the network's own decision."""
        return voxel_labels(fused, own.distances, self.config.grid, self.config.decision, config)
