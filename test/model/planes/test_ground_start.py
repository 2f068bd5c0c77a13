# SPDX-License-Identifier: Apache-2.0
"""With the published slips off, the field starts as the height above the road; with them on, it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from selfocc_ros.configuration import to_mapping
from selfocc_ros.model.checkpoint import load_checkpoint, save_checkpoint
from selfocc_ros.model.config import load_model_config, parse_model_config
from selfocc_ros.model.planes.config import BoxConfig, PlaneConfig
from selfocc_ros.model.planes.field_grid import FieldGrid
from selfocc_ros.model.planes.ground_start import node_heights, raised
from selfocc_ros.model.planes.scene import PlaneScene
from selfocc_ros.model.planes.selfocc import PlaneSelfOcc
from selfocc_ros.model.rig_tensors import RigTensors

SMALL: dict[str, Any] = {
    "name": "small",
    "family": "tpv",
    "input": {"width": 96, "height": 64, "crop": [192, 128], "camera_width": 192, "scale": 0.5},
    "backbone": {"depths": [1, 1, 1, 1], "channels": [16, 16, 24, 32], "weights": ""},
    "planes": {"lower": [-8, -8, -2], "upper": [8, 8, 2], "nodes": [9, 11, 5],
               "axes": "right_forward_up", "origin": [0.0, 0.0, 1.5]},
    "encoder": {"layers": 1, "channels": 16, "heads": 2, "feedforward": 16, "cross_points": [4, 4, 2],
                "self_points": 2},
    "head": {"classes": [4, 11]},
    "occupancy": {"lower": [-4, -4, -0.5], "upper": [4, 4, 3.5], "cells": [6, 4, 8]},
}  # fmt: skip
ON = {"transposed_references": True, "corner_pixels": True, "lost_ground": True}
OFF = dict.fromkeys(ON, False)


def network(family: str, quirks: dict[str, bool], **changes: Any) -> PlaneSelfOcc:
    config = parse_model_config({**SMALL, "family": family, "official_quirks": quirks, **changes}, "small")
    assert isinstance(config, PlaneConfig)
    torch.manual_seed(0)
    return PlaneSelfOcc(config).eval()


def camera() -> RigTensors:
    """One camera 1.5 m above the road that looks ahead."""
    pose = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])[None]
    return RigTensors(torch.tensor([[60.0, 60, 47.5, 31.5]]), torch.tensor([[96.0, 64]]), pose)


def encode(model: PlaneSelfOcc) -> PlaneScene:
    """What the network makes of noise."""
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 255
    return model.encode(images, model.prepare(camera()))


def spread_points() -> Tensor:
    """Points in the box of ``SMALL``, in the ground frame."""
    unit = torch.rand(200, 3, generator=torch.Generator().manual_seed(2))
    return unit * torch.tensor([16.0, 16, 4]) - torch.tensor([8.0, 8, 0.5])


@pytest.mark.parametrize("family", ["tpv", "bev"])
def test_the_field_starts_as_the_height_above_the_road(family: str) -> None:
    points = spread_points()
    with torch.inference_mode():
        scene = encode(network(family, OFF))
        torch.testing.assert_close(scene.sdf(points), points[:, 2], atol=0.02, rtol=0)
        inside = (points[:, 2] > 0.5) & (points[:, 2] < 2.5)
        up = torch.tensor([0.0, 0.0, 1.0]).expand(int(inside.sum()), 3)
        torch.testing.assert_close(scene.gradient(points)[inside], up, atol=0.02, rtol=0)
        published = encode(network(family, ON)).sdf(points)
    assert (published - points[:, 2]).abs().mean() > 0.5


@pytest.mark.parametrize("family", ["tpv", "bev"])
def test_what_is_below_the_road_starts_occupied_and_what_is_above_free(family: str) -> None:
    model = network(family, OFF)
    with torch.inference_mode():
        values = model.decide(encode(model))
    assert (values[..., 0] < 0).all()
    assert (values[..., 1:] > 0).all()


@pytest.mark.parametrize("family", ["tpv", "bev"])
def test_the_start_can_be_learnt_away(family: str) -> None:
    model = network(family, OFF)
    points = spread_points()
    optimiser = torch.optim.Adam(model.field.parameters(), lr=0.05)
    with torch.no_grad():
        features = model.features(torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(3)))
        planes = model.planes(features, model.prepare(camera()))
    losses = []
    for _ in range(60):
        loss = (model.field_grid(planes).sdf_at(points) + 1.0).abs().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_added_heights_are_those_of_a_field_made_with_them() -> None:
    values, lower, upper = torch.randn(3, 4, 5, 6), torch.tensor([0.0, 0, -1]), torch.tensor([4.0, 4, 4])
    heights = torch.linspace(-1, 4, 6)
    expected = values.clone()
    expected[0] += heights
    found = raised(FieldGrid.from_values(values, lower, upper), heights)
    for name, value in vars(FieldGrid.from_values(expected, lower, upper)).items():
        torch.testing.assert_close(getattr(found, name), value, msg=name)


def test_heights_are_counted_from_the_road_not_from_the_sensor() -> None:
    assert node_heights(BoxConfig(nodes=(3, 3, 3))).tolist() == pytest.approx([-1.0, 2.2, 5.4])
    lidar = BoxConfig((-25.6, 0.0, -2.0), (25.6, 51.2, 4.4), (3, 3, 3), "right_forward_up", (0.0, 0.0, 1.73))
    assert node_heights(lidar).tolist() == pytest.approx([-0.27, 2.93, 6.13])


def test_the_start_travels_in_a_checkpoint(tmp_path: Path) -> None:
    model = network("tpv", OFF)
    save_checkpoint(tmp_path / "small.safetensors", model, {})
    loaded, _ = load_checkpoint(tmp_path / "small.safetensors")
    assert isinstance(loaded, PlaneSelfOcc)
    with torch.inference_mode():
        assert torch.equal(encode(loaded).nodes, encode(model).nodes)


def test_the_switches_add_no_entry_to_a_checkpoint() -> None:
    assert network("tpv", OFF).state_dict().keys() == network("tpv", ON).state_dict().keys()


@pytest.mark.parametrize("name", ["nuscenes_tpv", "nuscenes_bev", "kitti_tpv"])
def test_published_networks_keep_the_published_slips(name: str) -> None:
    config = load_model_config(name)
    assert isinstance(config, PlaneConfig)
    assert to_mapping(config.official_quirks) == ON
