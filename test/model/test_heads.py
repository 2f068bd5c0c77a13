# SPDX-License-Identifier: Apache-2.0
"""Classes and occupancy beside the distance: where they start, what they decide, and networks without them."""

from __future__ import annotations

from typing import Any

import pytest
import small_networks
import torch

from selfocc_ros.configuration import ConfigError
from selfocc_ros.model.checkpoint import load_checkpoint, shipped_checkpoint
from selfocc_ros.model.config import parse_model_config
from selfocc_ros.model.families import build_network, class_labels
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.model.scene import OCCUPANCY_LENGTH_M

FAST = {**small_networks.FAST, "head": {"classes": ["road", "wall", "tree"], "occupancy": True}}
PLANES = {
    **small_networks.PLANES,
    "encoder": {**small_networks.PLANES["encoder"], "dropout": 0.0},
    "head": {"classes": [11, 15, 16], "occupancy": True},
    "official_quirks": small_networks.NO_QUIRKS,
}
KINDS = {"fast": FAST, "tpv": {**PLANES, "family": "tpv"}, "bev": {**PLANES, "family": "bev"}}


def rig() -> RigTensors:
    """One camera 1.5 m above the road that looks ahead."""
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    pose[2, 3] = 1.5
    return RigTensors(torch.tensor([[40.0, 40.0, 31.5, 23.5]]), torch.tensor([[64.0, 48.0]]), pose[None])


def network(kind: str, **head: Any) -> Any:
    torch.manual_seed(0)
    return build_network(parse_model_config({**KINDS[kind], "head": {**KINDS[kind]["head"], **head}}, kind)).eval()


def encoded(model: Any) -> Any:
    return model.encode(
        torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(1)) * 255, model.prepare(rig())
    )


@pytest.mark.parametrize("kind", KINDS)
def test_occupancy_starts_as_the_distance_and_then_decides(kind: str) -> None:
    model = network(kind)
    scene = encoded(model)
    assert scene.occupancy.shape == scene.nodes.shape
    torch.testing.assert_close(scene.boundary, scene.nodes, atol=0.01, rtol=0)
    before = model.corner_distances(scene)
    with torch.no_grad():
        if kind == "fast":
            model.occupancy.bias += 3.0
        else:
            model.field.density_net[3].bias[model.config.features :: 1 + model.config.features] += 3.0
    after = encoded(model)
    assert torch.equal(after.nodes, scene.nodes)  # rays are rendered as before
    moved = model.corner_distances(after) - before
    torch.testing.assert_close(moved, torch.full_like(moved, -3.0 * OCCUPANCY_LENGTH_M), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_voxels_do_not_pull_at_the_distance_of_a_network_with_occupancy(kind: str) -> None:
    model = network(kind)
    torch.autograd.backward(encoded(model).occupancy.sum())
    last = model.coarse_sdf.weight if kind == "fast" else model.field.density_net[3].weight
    gradient = torch.zeros_like(last) if last.grad is None else last.grad
    rows = gradient if kind == "fast" else gradient[:: 1 + model.config.features]
    assert not rows.any()
    assert model.occupancy.weight.grad.any() if kind == "fast" else gradient.any()


@pytest.mark.parametrize("kind", KINDS)
def test_class_logits_are_read_between_the_nodes(kind: str) -> None:
    model = network(kind)
    scene = encoded(model)
    assert class_labels(model.config) == ((0, 1, 2) if kind == "fast" else (11, 15, 16))
    assert scene.logits.shape[0] == 3
    corners = torch.stack([scene.lower, scene.upper])
    expected = torch.stack([scene.logits[:, 0, 0, 0], scene.logits[:, -1, -1, -1]])
    torch.testing.assert_close(scene.class_logits(corners), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_without_heads_has_neither(kind: str) -> None:
    model = network(kind, classes=[], occupancy=False)
    scene = encoded(model)
    assert scene.logits is None
    assert scene.occupancy is None
    assert scene.boundary is scene.nodes
    assert scene.class_logits(torch.zeros(4, 3)).shape == (4, 0)
    more = network(kind).state_dict().keys() - model.state_dict().keys()
    assert more == (
        {"classes.weight", "classes.bias", "occupancy.weight", "occupancy.bias"} if kind == "fast" else set()
    )


def test_the_shipped_checkpoint_knows_no_heads_and_loads() -> None:
    model, info = load_checkpoint(shipped_checkpoint())
    assert class_labels(info.config) == ()
    assert not hasattr(model, "occupancy")


def test_occupancy_of_planes_follows_colour() -> None:
    with pytest.raises(ConfigError, match=r"head\.occupancy needs head\.colour"):
        network("tpv", classes=[], colour=False)
