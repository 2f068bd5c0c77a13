# SPDX-License-Identifier: Apache-2.0
"""Every entry of every released checkpoint has a place in our networks, of the same shape, and no place stays empty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from selfocc_ros.model.config import load_model_config
from selfocc_ros.model.planes.config import PlaneConfig
from selfocc_ros.model.planes.names import NEVER_READ, NOT_USED, own_name
from selfocc_ros.model.planes.selfocc import STATISTICS, PlaneSelfOcc

RELEASED = {
    "nuscenes_tpv": "nuscenes_occ",
    "nuscenes_bev": "nuscenes_occ_bev",
    "nuscenes_depth": "nuscenes_depth",
    "nuscenes_novel_depth": "nuscenes_novel_depth",
    "kitti_tpv": "kitti_occ",
    "kitti_novel_depth": "kitti_novel_depth",
    "kitti_raw_depth": "kitti_raw_depth",
}


@pytest.fixture(scope="module")
def released(golden_folder: Path) -> dict[str, Any]:
    names: dict[str, Any] = json.loads((golden_folder / "checkpoint_names.json").read_text())
    return names


def test_all_released_networks_are_there(released: dict[str, Any]) -> None:
    assert set(RELEASED.values()) == {name for name in released if not name.startswith("_")}


@pytest.mark.parametrize("config", RELEASED)
def test_names_shapes_and_count_are_the_official_ones(config: str, released: dict[str, Any]) -> None:
    expected = released[RELEASED[config]]
    loaded = load_model_config(config)
    assert isinstance(loaded, PlaneConfig)
    # Nothing is computed, so nothing needs memory.
    with torch.device("meta"):
        model = PlaneSelfOcc(loaded)
    own = {name: list(value.shape) for name, value in model.state_dict().items()}
    official = {name: shape for name, (shape, _) in expected["state_dict"].items()}
    assert {own_name(name): shape for name, shape in official.items() if name not in NOT_USED} == own
    assert len(own) + len(NOT_USED) == expected["n_entries"]
    assert model.parameter_count == expected["n_parameters"]
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained == expected["n_trainable"]


def test_what_is_not_used_is_in_the_official_list(released: dict[str, Any]) -> None:
    entries = released["nuscenes_occ"]
    assert all(entries["state_dict"][name][0] == [0] for name in NOT_USED)
    assert set(NOT_USED) | set(NEVER_READ) <= set(entries["frozen_parameters"])


def test_buffers_are_what_the_official_checkpoints_call_buffers(released: dict[str, Any]) -> None:
    for name, kind in released["nuscenes_occ"]["kind"].items():
        assert (kind == "buffer") == name.endswith(STATISTICS)
