# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run: the true image beside what is rendered, also of images that do not fill their frame."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from selfocc_ros.model.config import load_model_config
from selfocc_ros.model.families import build_network
from selfocc_training.config import DataConfig
from selfocc_training.fit.preview import preview
from selfocc_training.steps import draw_step
from selfocc_training.town_clips import Clip


def test_rows_show_image_colour_and_depth_and_padding_stays_black(ground_clip: Clip) -> None:
    config = load_model_config("tiny")
    sized = dataclasses.replace(config.input, width=64, height=48)
    field = dataclasses.replace(config.field, lower=(-8, -8, -1), upper=(8, 8, 3), cells=(40, 40, 10))
    torch.manual_seed(0)
    network = build_network(dataclasses.replace(config, input=sized, field=field)).eval()
    narrow = dataclasses.replace(ground_clip, sizes=np.tile(np.array([50, 40], np.float32), (3, 1)))
    data = DataConfig(current_views=2, anchor_views=0, anchor_reach=2, widest_gap=2, grid=(6, 8), mirror=False)
    step = draw_step([narrow], 0, 0, data)
    pictures = preview(network, step)
    views = pictures["views"]
    assert views.shape == (2 * 48, 3 * 64, 3)
    true = step.views.images[1].permute(1, 2, 0).numpy() * 255
    assert np.allclose(views[48:, :64], true, atol=0.6)
    assert views[:40, 64 : 64 + 50].any()
    assert not views[:48, 64 + 50 : 128].any()
    assert pictures["birds_eye"].dtype == np.uint8
