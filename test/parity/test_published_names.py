# SPDX-License-Identifier: Apache-2.0
"""The seven published networks keep the official names and shapes of their entries, and import at full size."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from selfocc_ros import cli
from selfocc_ros.model.config import load_model_config
from selfocc_ros.model.planes.config import PlaneConfig
from selfocc_ros.model.planes.names import official_name, own_name
from selfocc_ros.model.planes.selfocc import PlaneSelfOcc

ENTRIES = {
    "nuscenes_tpv": (520, "20b4ff6b9d7a8679"),
    "nuscenes_bev": (450, "ada53888a2cfeccb"),
    "nuscenes_depth": (520, "3fc5c42ddd4c2c76"),
    "nuscenes_novel_depth": (520, "f927b503171e1b6c"),
    "kitti_tpv": (520, "99a20efd2c2f84c6"),
    "kitti_novel_depth": (520, "99a20efd2c2f84c6"),
    "kitti_raw_depth": (520, "b256b0ff393d1c3c"),
}
"""Number of entries that are used, and the beginning of the SHA-256 of their sorted official names and shapes."""


def shapes(name: str) -> dict[str, list[int]]:
    """Official names and shapes; nothing is computed, so nothing needs memory."""
    config = load_model_config(name)
    assert isinstance(config, PlaneConfig)
    with torch.device("meta"):
        network = PlaneSelfOcc(config)
    return {official_name(entry): list(value.shape) for entry, value in network.state_dict().items()}


@pytest.mark.parametrize("name", ENTRIES)
def test_names_and_shapes_are_those_of_the_released_checkpoints(name: str) -> None:
    count, digest = ENTRIES[name]
    entries = shapes(name)
    assert len(entries) == count
    lines = "\n".join(sorted(f"{entry} {shape}" for entry, shape in entries.items()))
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == digest


def test_a_checkpoint_of_full_size_is_imported(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    official = {"head.model.device_indicator_param": torch.zeros(0)}
    for entry, shape in shapes("nuscenes_tpv").items():
        official[entry] = torch.rand(shape, generator=generator)
    official["head.model.field.aabb"] = torch.tensor([[-40.0, -40, -1], [40, 40, 5.4]])
    torch.save({"state_dict": official, "epoch": 12}, tmp_path / "full.pth")
    arguments = [
        "import",
        str(tmp_path / "full.pth"),
        "--config",
        "nuscenes_tpv",
        "--out",
        str(tmp_path / "own.safetensors"),
    ]
    assert cli.main(arguments) == 0
    own = load_file(tmp_path / "own.safetensors")
    assert len(own) == len(official) - 1
    for entry, value in official.items():
        name = own_name(entry)
        if name is not None:
            assert torch.equal(own[name].float(), value.long().float() if name.endswith("tracked") else value), entry
