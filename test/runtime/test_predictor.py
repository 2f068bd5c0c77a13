# SPDX-License-Identifier: Apache-2.0
"""Other limits of what is occupied, and depth that is told only where there is some."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import BODY_FROM_OPTICAL, pose_from_rpy
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.geometry.voxels import FREE, OCCUPIED, UNKNOWN
from selfocc_ros.model.config import parse_model_config
from selfocc_ros.model.families import build_network
from selfocc_ros.runtime.predictor import Prediction, Predictor
from selfocc_ros.sensing.frames import CameraFrame, RigSample

CAMERA = CameraModel(64, 48, np.array([[40.0, 0, 31.5], [0, 40.0, 23.5], [0, 0, 1]]))
NETWORK = {
    "name": "small",
    "input": {"width": 64, "height": 48},
    "backbone": {"channels": [8, 8, 16, 16], "neck": 16},
    "lifting": {"plain": 4, "gated": 3, "depth_bins": 12, "heights": 5},
    "encoder": {"channels": 16, "blocks": [1], "fine": 8},
    "field": {"lower": [-8, -8, -1], "upper": [8, 8, 3], "cells": [20, 20, 10]},
    "head": {"classes": ["road", "wall"]},
}


def pose(pitch: float) -> np.ndarray:
    body = pose_from_rpy((0.0, 0.0, 1.5), 0.0, pitch, 0.0)
    body[:3, :3] = body[:3, :3] @ BODY_FROM_OPTICAL
    return body


@pytest.fixture(scope="module")
def predicted() -> tuple[Predictor, Prediction]:
    torch.manual_seed(0)
    predictor = Predictor(build_network(parse_model_config(NETWORK, "test")), "cpu", ground_z=-0.2)
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    frame = CameraFrame("front", 0, "front", "png", cv2.imencode(".png", pixels)[1].tobytes())
    rig = CameraRig(("front",), (CAMERA,), pose(0.2)[None])
    return predictor, predictor.predict(RigSample(0, rig, (frame,)))


def test_the_limit_of_zero_is_what_predict_takes(predicted: tuple[Predictor, Prediction]):
    predictor, prediction = predicted
    again = predictor.decide(prediction, 0.0)
    assert again.grid == prediction.volume.grid
    np.testing.assert_array_equal(again.state, prediction.volume.state)
    assert again.classes is not None
    np.testing.assert_array_equal(again.classes, prediction.volume.classes)


@pytest.mark.parametrize("limit", [-0.3, 0.4, 100.0, -100.0])
def test_each_voxel_is_decided_by_its_value_and_by_whether_it_is_seen(
    predicted: tuple[Predictor, Prediction], limit: float
):
    predictor, prediction = predicted
    found = predictor.decide(prediction, limit)
    values = prediction.volume.sdf
    assert values is not None
    expected = np.where(values < limit, OCCUPIED, np.where(prediction.seen, FREE, UNKNOWN))
    np.testing.assert_array_equal(found.state, expected)
    assert found.classes is not None
    assert not found.classes[found.state != OCCUPIED].any()
    if limit == 100.0:  # voxels that were free have a class now, and not just the first one
        assert set(np.unique(found.classes)) == {0, 1}


def test_depth_is_nan_where_too_little_of_a_ray_ends(predicted: tuple[Predictor, Prediction]):
    predictor, prediction = predicted
    everywhere = predictor.render_depth(prediction, CAMERA, pose(0.0), 4)
    some = predictor.render_depth(prediction, CAMERA, pose(0.0), 4, least_opacity=0.5)
    assert everywhere.shape == some.shape == (12, 16)
    assert np.isfinite(everywhere).all()
    known = np.isfinite(some)
    assert 0 < known.sum() < known.size
    np.testing.assert_array_equal(some[known], everywhere[known])
    assert np.isnan(predictor.render_depth(prediction, CAMERA, pose(0.0), 4, least_opacity=1.1)).all()


def test_the_camera_of_every_fourth_pixel_sees_the_same_depth(predicted: tuple[Predictor, Prediction]):
    predictor, prediction = predicted
    full = predictor.render_depth(prediction, CAMERA, pose(0.1), 4)
    small = predictor.render_depth(prediction, CAMERA.strided(4), pose(0.1))
    np.testing.assert_allclose(small, full, atol=1e-4)
