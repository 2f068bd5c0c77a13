# SPDX-License-Identifier: Apache-2.0
"""What the occupied voxels are: the most likely class of each, read from the scene at its centre."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.model.scene import Scene

CHUNK = 2**16
"""Voxels read at once: their logits stay a few MB."""


def voxel_labels(
    scene: Scene, channel_labels: tuple[int, ...], grid: VoxelGrid, which: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """(X, Y, Z) label of the most likely class of the voxels ``which`` (X, Y, Z), 0 elsewhere.

    Channels that bear one label add up their probabilities.

    Args:
        channel_labels: label of each class channel of the network.
        grid: in the frame of the scene.
    """
    names, channels = np.unique(np.array(channel_labels), return_inverse=True)
    device = scene.nodes.device
    to_name, label_of = torch.as_tensor(channels, device=device), torch.as_tensor(names, device=device)
    points = torch.as_tensor(np.array(grid.lower) + (np.argwhere(which) + 0.5) * grid.cell, dtype=torch.float32)
    found = [torch.zeros(0, dtype=torch.uint8)]
    for chunk in torch.split(points, CHUNK):
        p_VC = scene.class_logits(chunk.to(device)).softmax(dim=-1)
        by_name = p_VC.new_zeros(len(p_VC), len(names)).index_add_(1, to_name, p_VC)
        found.append(label_of[by_name.argmax(dim=-1)].to("cpu", torch.uint8))
    labels = np.zeros(grid.shape, np.uint8)
    labels[which] = torch.cat(found).numpy()
    return labels
