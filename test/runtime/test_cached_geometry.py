# SPDX-License-Identifier: Apache-2.0
"""The geometry that a predictor keeps between samples is that of the rig as it is now."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from small_networks import FAST

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import body_from_optical, pose_from_rpy
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.model.config import parse_model_config
from selfocc_ros.model.selfocc import build_model
from selfocc_ros.runtime.predictor import Predictor
from selfocc_ros.sensing.frames import CameraFrame, RigSample

SIZE = (64, 48)
K = np.array([[40.0, 0, 31.5], [0, 40.0, 23.5], [0, 0, 1]])


def sample(camera: CameraModel, yaw: float = 0.0) -> RigSample:
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    jpeg = bytes(cv2.imencode(".jpg", cv2.resize(noise, SIZE))[1])
    pose = pose_from_rpy((0.5, 0.0, 1.5), 0.0, 0.0, yaw) @ body_from_optical()
    rig = CameraRig(("front",), (camera,), pose[None])
    return RigSample(5, rig, (CameraFrame("front", 5, "front_optical", "jpeg", jpeg),))


@pytest.mark.parametrize(
    "changed",
    [
        sample(CameraModel(*SIZE, K), yaw=0.3),
        sample(CameraModel(*SIZE, np.diag([0.8, 0.8, 1.0]) @ K)),
        sample(CameraModel(*SIZE, K, "plumb_bob", (-0.3, 0.1, 0.0, 0.0, 0.0))),
    ],
    ids=["mounting", "focal length", "lens"],
)
def test_what_changes_while_running_is_followed(changed: RigSample) -> None:
    torch.manual_seed(0)
    model = build_model(parse_model_config(FAST, "small"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    running, fresh = Predictor(model, "cpu"), Predictor(model, "cpu")
    before = running.predict(sample(CameraModel(*SIZE, K))).volume
    after, expected = running.predict(changed).volume, fresh.predict(changed).volume
    np.testing.assert_array_equal(after.sdf, expected.sdf)
    np.testing.assert_array_equal(after.state, expected.state)
    assert not np.allclose(before.sdf, after.sdf)
