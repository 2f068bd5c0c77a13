# SPDX-License-Identifier: Apache-2.0
"""Networks that are built in milliseconds, and cameras to show them something: what tests of models and training share.

Values are those of config/models/*.yaml; a test changes what it is about.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from selfocc_ros.model.rig_tensors import RigTensors

FAST: dict[str, Any] = {
    "name": "small",
    "input": {"width": 64, "height": 48},
    "backbone": {"channels": [8, 8, 16, 16], "neck": 16},
    "lifting": {"plain": 4, "gated": 3, "depth_bins": 12, "heights": 5},
    "encoder": {"channels": 16, "blocks": [1, 1], "fine": 8},
    "field": {"lower": [-8, -8, -1], "upper": [8, 8, 3], "cells": [20, 20, 10]},
    "renderer": {"samples": 16},
}
PLANES: dict[str, Any] = {
    "name": "small_planes",
    "family": "tpv",
    "input": {"width": 64, "height": 48},
    "backbone": {"depths": [1, 1, 1, 1], "channels": [16, 16, 24, 32], "weights": ""},
    "planes": {"lower": [-8, -8, -1], "upper": [8, 8, 3], "nodes": [9, 11, 5]},
    "encoder": {
        "layers": 1, "channels": 16, "heads": 2, "feedforward": 16, "cross_points": [4, 4, 2], "self_points": 2,
    },
    "renderer": {"samples": 16},
    "occupancy": {"lower": [-4, -4, 0], "upper": [4, 4, 2], "cells": [6, 4, 3]},
}  # fmt: skip
NO_QUIRKS = {"transposed_references": False, "corner_pixels": False, "lost_ground": False}


def with_cells(*cells: int) -> dict[str, Any]:
    """`FAST` with another number of cells along x, y and z."""
    return {**FAST, "field": {**FAST["field"], "cells": list(cells)}}


def write_network(path: Path, values: dict[str, Any]) -> Path:
    """Write the values as a file that `model:` of a training configuration may name."""
    path.write_text(yaml.safe_dump(values))
    return path


def looking(*yaws: float, focal: float = 40.0, size: tuple[int, int] = (60, 44)) -> RigTensors:
    """Cameras 1.5 m above the ground that look into the given directions, radians counter-clockwise from ahead."""
    poses = torch.eye(4).repeat(len(yaws), 1, 1)
    for pose, yaw in zip(poses, torch.tensor(yaws), strict=True):
        ahead = torch.stack([yaw.cos(), yaw.sin(), torch.tensor(0.0)])
        right = torch.stack([yaw.sin(), -yaw.cos(), torch.tensor(0.0)])
        pose[:3, :3] = torch.stack([right, torch.tensor([0.0, 0.0, -1.0]), ahead], dim=1)
        pose[2, 3] = 1.5
    width, height = size
    intrinsics = torch.tensor([[focal, focal, (width - 1) / 2, (height - 1) / 2]])
    sizes = torch.tensor([[float(width), float(height)]])
    return RigTensors(intrinsics.expand(len(yaws), -1), sizes.expand(len(yaws), -1), poses)
