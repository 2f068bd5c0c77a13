# SPDX-License-Identifier: Apache-2.0
"""Training from a checkpoint: a head that it lacks is added and changes nothing at first; less is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import with_cells

from selfocc_ros.configuration import ConfigError
from selfocc_ros.model.checkpoint import read_info, save_checkpoint, shipped_checkpoint
from selfocc_ros.model.config import ModelConfig, parse_model_config
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.model.selfocc import SelfOcc, build_model
from selfocc_training.config import load_train_config
from selfocc_training.start import load_start, with_start
from selfocc_training.town_clips import Clip, camera_rig
from selfocc_training.trainer import check_clip_size, trained_config


def small(thresholds: list[float], **head: Any) -> ModelConfig:
    values = {
        **with_cells(20, 20, 5),
        "decision": {"thresholds": thresholds, "lowest_corner": 0.8},
        "head": head,
    }
    found = parse_model_config(values, "test")
    assert isinstance(found, ModelConfig)
    return found


def stored(folder: Path, **head: Any) -> tuple[str, SelfOcc]:
    torch.manual_seed(1)
    model = build_model(small([-0.1], **head))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = folder / "start.safetensors"
    save_checkpoint(path, model, {})
    return str(path), model.eval()


def test_a_network_with_an_occupancy_head_more_decides_as_its_start(tmp_path: Path, ground_clip: Clip) -> None:
    start, plain = stored(tmp_path)
    wanted = with_start(small([0.3], occupancy=True), start)
    assert wanted.head.occupancy
    assert wanted.decision == plain.config.decision
    model = build_model(wanted)
    load_start(model, start)
    rig = RigTensors.from_rig(camera_rig(ground_clip, 3))
    images = torch.as_tensor(ground_clip.images[3]).float()
    with torch.no_grad():
        decided = [one.decide(one.encode(images, one.prepare(rig))) for one in (plain, model.eval())]
    torch.testing.assert_close(decided[1], decided[0], atol=1e-3, rtol=0)
    assert decided[0].std() > 0.05


@pytest.mark.parametrize("name", ["tiny_town_distil", "tiny_recording_distil"])
def test_configurations_for_distilled_labels_fit_the_shipped_checkpoint(name: str) -> None:
    config = load_train_config(name)
    check_clip_size(config)
    found = trained_config(config)
    assert isinstance(found, ModelConfig)
    assert found.head.occupancy
    assert found.decision == read_info(shipped_checkpoint()).config.decision
    assert config.loss.voxels
    assert config.data.distilled != config.data.voxel_labels


def test_a_head_that_the_start_has_cannot_be_left_out(tmp_path: Path) -> None:
    start, _ = stored(tmp_path, occupancy=True, classes=["road", "car"])
    assert with_start(small([0.0], occupancy=True, classes=["road", "car"]), start).head.occupancy
    for head in ({"occupancy": True}, {"classes": ["road", "car"]}, {"occupancy": True, "classes": ["car", "road"]}):
        with pytest.raises(ConfigError, match="they differ in head"):
            with_start(small([0.0], **head), start)
