# SPDX-License-Identifier: Apache-2.0
"""Every configuration that comes with the package can be built, and those to be trained here can learn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_networks
import torch
from small_networks import looking

from selfocc_ros.configuration import ConfigError
from selfocc_ros.model.config import ModelConfig, load_model_config, parse_model_config
from selfocc_ros.model.families import build_network
from selfocc_ros.model.planes.config import CORRECTED, PlaneConfig
from selfocc_ros.model.selfocc import build_model

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "config" / "models").glob("*.yaml"))
RESNET = {"name": "resnet", "depths": [1, 1, 1, 1], "channels": [16, 16, 24, 32], "neck": 16}
FAST = {
    **small_networks.FAST,
    "lifting": {**small_networks.FAST["lifting"], "fine": 2},
    "encoder": {**small_networks.FAST["encoder"], "fine_blocks": 1},
}
PLANES = {
    **small_networks.PLANES,
    "backbone": {**small_networks.PLANES["backbone"], "frozen_stages": -1},
    "encoder": {**small_networks.PLANES["encoder"], "layers": 2},
    "official_quirks": small_networks.NO_QUIRKS,
}
SMALL = {
    "fast": {**FAST, "family": "fast"},
    "fast_resnet": {**FAST, "family": "fast", "backbone": RESNET},
    "tpv": {**PLANES, "family": "tpv"},
    "bev": {**PLANES, "family": "bev"},
}


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_built_under_its_name(name: str) -> None:
    with torch.device("meta"):  # shapes alone
        model = build_network(load_model_config(name))
    assert model.config.name == name
    assert model.parameter_count > 0


def test_what_trains_on_two_cores_is_small() -> None:
    counts = {}
    for name in ("tiny", "fast_s", "tpv_s"):
        with torch.device("meta"):
            counts[name] = build_network(load_model_config(name)).parameter_count
    assert counts["tiny"] < 2e6
    assert counts["tpv_s"] < counts["tiny"] < counts["fast_s"] <= 3e6


def test_the_networks_to_train_are_without_the_published_slips_and_take_any_camera() -> None:
    config = load_model_config("tpv_s")
    assert isinstance(config, PlaneConfig)
    assert config.official_quirks == CORRECTED
    assert config.input.crop is None


@pytest.mark.parametrize("kind", SMALL)
def test_every_trained_value_gets_a_finite_gradient(kind: str, one_thread: None) -> None:
    torch.manual_seed(0)
    model = build_network(parse_model_config({"name": kind, **SMALL[kind]}, kind)).train()
    network: Any = model
    scene = network.encode(torch.rand(2, 3, 48, 64) * 255, network.prepare(looking(0.0, 2.0)))
    points = torch.rand(300, 3) * torch.tensor([8.0, 8.0, 2.0])
    value = scene.sdf(points).square().sum() + scene.colour(points).square().sum() + scene.sharpness
    torch.autograd.backward(value + scene.log_distances.square().sum())
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad, name
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert model.log_sharpness.grad is not None
    assert model.log_sharpness.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", SMALL)
def test_distances_at_the_corners_of_the_voxels(kind: str) -> None:
    network: Any = build_network(parse_model_config({"name": kind, **SMALL[kind]}, kind)).eval()
    with torch.inference_mode():
        scene = network.encode(torch.rand(1, 3, 48, 64) * 255, network.prepare(looking(0.0)))
        corners = network.corner_distances(scene)
    grid = network.config.grid
    assert corners.shape == tuple(cells + 1 for cells in grid.shape)
    # All of them start as flat ground: the height of the corners, up to where the fast family stops counting.
    heights = torch.linspace(grid.lower[2], grid.upper[2], grid.shape[2] + 1).clamp(max=2.0)
    assert (corners - heights).abs().max() < 0.1


def test_finely_lifted_channels_reach_single_voxels() -> None:
    """Change the fine features of one pixel: the field changes, though the bird's eye plane does not know of it."""
    torch.manual_seed(0)
    config = parse_model_config({"name": "fine", **SMALL["fast"]}, "fine")
    assert isinstance(config, ModelConfig)
    model = build_model(config).eval()
    torch.nn.init.normal_(model.refine[-1].weight)  # type: ignore[arg-type]
    images, cache = torch.rand(1, 3, 48, 64) * 255, model.prepare(looking(0.0))
    with torch.inference_mode():
        before = model.encode(images, cache)
        fine = slice(-config.lifting.fine, None)
        model.lifting.head.weight[fine] += 1.0
        after = model.encode(images, cache)
    assert torch.equal(before.colours, after.colours)
    assert torch.equal(before.log_distances, after.log_distances)
    assert (before.nodes - after.nodes).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"depths": [1, 1, 1, 1]}, "backbone.depths, weights and frozen_stages are for backbones of transformers"),
        ({"weights": "microsoft/resnet-50"}, "for backbones of transformers"),
        ({"frozen_stages": 0}, "for backbones of transformers"),
        ({"channels": [8, 16, 24]}, "backbone.channels must hold 4 numbers, found"),
        ({"channels": [16, 16, 24, 33]}, "backbone.channels must be multiples of 8"),
        ({"neck": 20}, "backbone.neck must be multiples of 8"),
        ({"name": "resnet"}, "backbone.depths must hold 4 numbers above 0"),
        ({**RESNET, "channels": [8, 16, 24, 32]}, "backbone.channels must be at least 16, found .*oneDNN issue 6035"),
        ({"name": "resnext", "depths": [1, 1, 1, 1]}, "backbone 'resnext' cannot be built"),
    ],
)
def test_backbones_that_make_no_sense_are_refused_in_one_sentence(change: dict[str, Any], sentence: str) -> None:
    config = parse_model_config({"name": "probe", **FAST, "backbone": change}, "probe.yaml")
    with pytest.raises(ConfigError, match=sentence) as caught:
        build_network(config)
    assert "\n" not in str(caught.value)
