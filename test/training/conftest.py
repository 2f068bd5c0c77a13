# SPDX-License-Identifier: Apache-2.0
"""A clip whose world is known: textured ground, and nothing else, seen while driving straight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from small_networks import PLANES, write_network

from selfocc_ros.geometry.poses import BODY_FROM_OPTICAL, pose_from_rpy
from selfocc_ros.model.rig_tensors import RigTensors

if TYPE_CHECKING:
    from selfocc_training.town_clips import Clip

WIDTH, HEIGHT, FOCAL = 64, 48, 40.0

SMALL_TPV = {
    **PLANES,
    "name": "small_tpv",
    "backbone": {**PLANES["backbone"], "frozen_stages": -1},
    "planes": {**PLANES["planes"], "nodes": [17, 17, 5]},
    "encoder": {**PLANES["encoder"], "dropout": 0.1},
    "renderer": {"published": False, "samples": 12, "near_density": 4.0},
    "occupancy": {"lower": [-8, -8, -1], "upper": [8, 8, 3], "cells": [16, 16, 8]},
}


def ground_colour(points: torch.Tensor) -> torch.Tensor:
    """Colour 0..1 (..., 3) of the ground at points (..., 3) of the odom frame."""
    x, y = points[..., 0], points[..., 1]
    waves = [torch.sin(1.1 * x + 0.9 * y), torch.sin(-0.8 * x + 1.4 * y + 1.0), torch.sin(0.7 * x - 1.2 * y + 2.0)]
    return torch.stack(waves, dim=-1) * 0.3 + 0.5


def make_clip(
    frames: int = 7,
    yaws: tuple[float, ...] = (0.0, 1.2, -1.4),
    colour: Callable[[torch.Tensor], torch.Tensor] = ground_colour,
) -> Clip:
    """Cameras 1.5 m above the plane z = 0, 0.6 m a frame, pitched down by 43 degrees: all that they see is ground."""
    # Here, so that GPU tests are collected where there is no OpenCV, and say why they skip.
    from selfocc_training.town_clips import Clip

    mounts = []
    for yaw in yaws:
        mount = pose_from_rpy((0.4, 0.1 * yaw, 1.5), 0.0, 0.75, yaw)
        mount[:3, :3] = mount[:3, :3] @ BODY_FROM_OPTICAL
        mounts.append(mount)
    odom_from_base = np.stack([pose_from_rpy((0.6 * k, 0.0, 0.0), 0.0, 0.0, 0.02 * k) for k in range(frames)])
    odom_from_camera = odom_from_base[:, None] @ np.stack(mounts)[None]
    intrinsics = np.tile(np.array([FOCAL, FOCAL, 30.0, 24.0], np.float32), (len(yaws), 1))
    sizes = np.tile(np.array([WIDTH, HEIGHT], np.float32), (len(yaws), 1))
    v, u = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")
    pixels = torch.stack([u, v], dim=-1).reshape(1, -1, 2)
    images = np.zeros((frames, len(yaws), 3, HEIGHT, WIDTH), np.uint8)
    for k in range(frames):
        for n in range(len(yaws)):
            pose = torch.tensor(odom_from_camera[k, n], dtype=torch.float32)[None]
            rig = RigTensors(torch.tensor(intrinsics[n : n + 1]), torch.tensor(sizes[n : n + 1]), pose)
            origins, directions, _ = rig.rays(pixels)
            down = directions[..., 2:].clamp(max=-1e-3)
            hit = origins - directions * origins[..., 2:] / down
            shown = torch.where(directions[..., 2:] < -1e-2, colour(hit), torch.tensor(0.7))
            images[k, n] = (shown[0].T.reshape(3, HEIGHT, WIDTH) * 255).round().byte().numpy()
    return Clip(images, intrinsics, sizes, odom_from_base, odom_from_camera)


@pytest.fixture(scope="session")
def ground_clip() -> Clip:
    return make_clip()


@pytest.fixture(scope="session")
def clip_of() -> Callable[..., Clip]:
    """Makes clips of grounds of other colours."""
    return make_clip


@pytest.fixture
def small_tpv(tmp_path: Path) -> Path:
    """A file that describes a TPV of a few thousand parameters."""
    return write_network(tmp_path / "small_tpv.yaml", SMALL_TPV)
