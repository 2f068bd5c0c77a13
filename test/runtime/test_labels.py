# SPDX-License-Identifier: Apache-2.0
"""Labels of occupied voxels: the likeliest class at their centres, whatever the channels."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import BODY_FROM_OPTICAL, pose_from_rpy
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.geometry.voxels import OCCUPIED, VoxelGrid
from selfocc_ros.model.config import parse_model_config
from selfocc_ros.model.families import build_network
from selfocc_ros.model.scene import Scene
from selfocc_ros.model.selfocc import SelfOcc
from selfocc_ros.runtime.labels import voxel_labels
from selfocc_ros.runtime.predictor import Predictor
from selfocc_ros.sensing.frames import CameraFrame, RigSample

GRID = VoxelGrid((-4, -4, 0), (4, 4, 2), (8, 8, 2))


def scene(logits: torch.Tensor) -> Scene:
    box = torch.tensor(GRID.lower), torch.tensor(GRID.upper)
    return Scene(torch.zeros(9, 9, 3), torch.zeros(3, 2, 2, 2), *box, torch.tensor(1.0), torch.zeros(0), logits=logits)


def test_labels_are_those_of_where_voxels_are() -> None:
    """Class 0 ahead, class 1 behind, told at the two ends of the box alone."""
    logits = torch.zeros(2, 2, 2, 2)
    logits[0, 1], logits[1, 0] = 5.0, 5.0
    which = np.zeros(GRID.shape, np.bool_)
    which[:, 3] = True
    labels = voxel_labels(scene(logits), (11, 4), GRID, which)
    assert (labels[4:, 3] == 11).all()
    assert (labels[:4, 3] == 4).all()
    assert not labels[~which].any()


def test_channels_of_one_label_add_up() -> None:
    logits = torch.tensor([1.0, 0.6, 0.6]).reshape(3, 1, 1, 1).expand(3, 2, 2, 2)
    everywhere = np.ones(GRID.shape, np.bool_)
    assert (voxel_labels(scene(logits), (7, 3, 3), GRID, everywhere) == 3).all()
    assert (voxel_labels(scene(logits), (7, 3, 5), GRID, everywhere) == 7).all()


def test_nothing_occupied_has_no_labels() -> None:
    assert not voxel_labels(scene(torch.zeros(2, 2, 2, 2)), (1, 2), GRID, np.zeros(GRID.shape, np.bool_)).any()


def test_a_network_with_classes_names_what_it_finds() -> None:
    values = {
        "name": "named",
        "input": {"width": 64, "height": 48},
        "backbone": {"channels": [8, 8, 16, 16], "neck": 16},
        "lifting": {"plain": 4, "gated": 3, "depth_bins": 12, "heights": 5},
        "encoder": {"channels": 16, "blocks": [1], "fine": 8},
        "field": {"lower": [-8, -8, -1], "upper": [8, 8, 3], "cells": [20, 20, 10]},
        "head": {"classes": ["road", "sky"]},
    }
    model = build_network(parse_model_config(values, "test"))
    assert isinstance(model, SelfOcc)
    with torch.no_grad():
        model.classes.bias[: model.config.lifting.heights] += 50.0  # of the first class, at all heights
    matrix = np.array([[40.0, 0, 31.5], [0, 40.0, 23.5], [0, 0, 1]])
    pose = pose_from_rpy((0.0, 0.0, 1.5), 0.0, 0.5, 0.0)
    pose[:3, :3] = pose[:3, :3] @ BODY_FROM_OPTICAL
    rig = CameraRig(("front",), (CameraModel(64, 48, matrix),), pose[None])
    _, data = cv2.imencode(".png", np.full((48, 64, 3), 90, np.uint8))
    frame = CameraFrame("front", 0, "front", "png", data.tobytes())
    volume = Predictor(model, "cpu").predict(RigSample(0, rig, (frame,))).volume
    assert volume.class_names == ("road", "sky")
    assert volume.classes is not None
    assert (volume.state == OCCUPIED).any()
    assert not volume.classes.any()
