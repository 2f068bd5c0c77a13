# SPDX-License-Identifier: Apache-2.0
"""A camera rig as tensors: what a network needs to know of it, and pixel rays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfocc_ros.geometry.rig import CameraRig


@dataclass(frozen=True)
class RigTensors:
    """N pinhole cameras.

    Attributes:
        intrinsics: (N, 4) fx, fy, cx, cy in pixels; integer coordinates are pixel centres.
        sizes: (N, 2) width, height in pixels of the image area in use.
        base_from_camera: (N, 4, 4) optical camera frame to the ground frame of the network.
    """

    intrinsics: Tensor
    sizes: Tensor
    base_from_camera: Tensor

    @classmethod
    def from_rig(cls, rig: CameraRig, device: torch.device | str = "cpu") -> RigTensors:
        """Tensors of a rig of undistorted cameras, whose skew is zero.

        Raises:
            ValueError: if a camera is distorted; undistort images first (``sensing.preprocess``).
        """
        for name, camera in zip(rig.names, rig.cameras, strict=True):
            if camera.is_distorted:
                raise ValueError(f"camera {name}: the network needs undistorted images, found model {camera.model}.")
        matrices = np.stack([camera.matrix for camera in rig.cameras])
        intrinsics = np.stack([matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 0, 2], matrices[:, 1, 2]], axis=1)
        sizes = np.array([(camera.width, camera.height) for camera in rig.cameras])
        return cls(
            torch.as_tensor(intrinsics, dtype=torch.float32, device=device),
            torch.as_tensor(sizes, dtype=torch.float32, device=device),
            torch.tensor(np.array(rig.base_from_camera), dtype=torch.float32, device=device),
        )

    def __len__(self) -> int:
        return self.intrinsics.shape[0]

    def select(self, cameras: Tensor) -> RigTensors:
        """The cameras at the given indices."""
        return RigTensors(self.intrinsics[cameras], self.sizes[cameras], self.base_from_camera[cameras])

    def rays(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rays of pixels.

        Args:
            pixels: (N, R, 2) u, v of each camera.

        Returns:
            origins (N, R, 3), unit directions (N, R, 3) in the ground frame, and the cosine between each ray and its
            camera's axis (N, R): distance along the ray times this is z-depth.
        """
        focal, centre = self.intrinsics[:, None, :2], self.intrinsics[:, None, 2:]
        planar = (pixels - centre) / focal
        local = torch.cat([planar, torch.ones_like(planar[..., :1])], dim=-1)
        norm = local.norm(dim=-1, keepdim=True)
        directions = torch.einsum("nij,nrj->nri", self.base_from_camera[:, :3, :3], local / norm)
        origins = self.base_from_camera[:, None, :3, 3].expand_as(directions)
        return origins, directions, 1.0 / norm[..., 0]

    def project(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project points of the ground frame into every camera.

        Args:
            points: (P, 3) shared by all cameras, or (N, P, 3), metres.

        Returns:
            pixels (N, P, 2), z-depth (N, P) in metres, and whether the point is in front of the camera and inside
            the image area (N, P).
        """
        rotation, translation = self.base_from_camera[:, :3, :3], self.base_from_camera[:, None, :3, 3]
        local = torch.einsum("nji,npj->npi", rotation, points.expand(len(self), -1, 3) - translation)
        depth = local[..., 2]
        planar = local[..., :2] / depth.clamp(min=1e-3).unsqueeze(-1)
        pixels = planar * self.intrinsics[:, None, :2] + self.intrinsics[:, None, 2:]
        inside = ((pixels >= -0.5) & (pixels < self.sizes[:, None] - 0.5)).all(dim=-1) & (depth > 0.05)
        return pixels, depth, inside
