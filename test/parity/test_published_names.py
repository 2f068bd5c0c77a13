# SPDX-License-Identifier: Apache-2.0
"""The seven published networks keep the official names and shapes of their entries, and import at full size."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from seeded import parameter, uniform

from selfocc_ros import cli
from selfocc_ros.model.checkpoint import load_checkpoint
from selfocc_ros.model.config import load_model_config
from selfocc_ros.model.planes.config import PlaneConfig
from selfocc_ros.model.planes.names import official_name
from selfocc_ros.model.planes.selfocc import PlaneSelfOcc
from selfocc_ros.model.rig_tensors import RigTensors

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


@pytest.mark.slow
def test_a_checkpoint_of_full_size_computes_the_same_as_its_values_set_by_hand(tmp_path: Path) -> None:
    """With the bird's eye plane alone, which takes a fraction of the time of three."""
    config = load_model_config("nuscenes_bev")
    assert isinstance(config, PlaneConfig)
    by_hand = PlaneSelfOcc(config).eval()
    official = {"head.model.device_indicator_param": torch.zeros(0)}
    for name, entry in by_hand.state_dict().items():
        official[official_name(name)] = parameter(official_name(name), entry)
    with torch.no_grad():
        for name, entry in by_hand.state_dict().items():
            entry.copy_(official[official_name(name)])
    source, out = tmp_path / "full.pth", tmp_path / "own.safetensors"
    torch.save({"state_dict": official, "epoch": 12}, source)
    assert cli.main(["import", str(source), "--config", "nuscenes_bev", "--out", str(out)]) == 0
    imported, _ = load_checkpoint(out)
    assert isinstance(imported, PlaneSelfOcc)
    ahead = torch.tensor([[[0.0, 0, 1, 1.7], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]]])
    rig = RigTensors(torch.tensor([[630.0, 630.0, 408.0, 245.0]]), torch.tensor([[800.0, 384.0]]), ahead)
    image = 255 * uniform("full size", 1, 3, 384, 800)
    with torch.inference_mode():
        expected, found = (network.encode(image, network.prepare(rig)).grid for network in (by_hand, imported))
    assert expected.sdf.shape == (257, 257, 25)
    assert expected.sdf.std() > 0.1
    assert torch.equal(found.sdf, expected.sdf)
    assert expected.features is not None
    assert found.features is not None
    assert torch.equal(found.features, expected.features)
