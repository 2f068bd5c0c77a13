# SPDX-License-Identifier: Apache-2.0
"""The image backbone: strides, frozen parts, and where weights come from."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from selfocc_ros.configuration import ConfigError
from selfocc_ros.model.config import ImageBackboneConfig
from selfocc_ros.model.image_backbone import STRIDES, ImageBackbone

SMALL = ImageBackboneConfig(depths=(1, 1, 1, 1), channels=(16, 16, 24, 32), weights="")


def test_maps_have_the_strides_of_the_pyramid_and_odd_sizes_are_rounded_up() -> None:
    maps = ImageBackbone(SMALL).eval()(torch.rand(2, 3, 65, 96))
    assert [tuple(m.shape) for m in maps] == [
        (2, channels, -(-65 // stride), -(-96 // stride))
        for channels, stride in zip(SMALL.channels, STRIDES, strict=True)
    ]


def test_a_bottleneck_shrinks_in_its_middle_convolution() -> None:
    block = ImageBackbone(SMALL).model.get_submodule("encoder.stages.1.layers.0.layer")
    strides = [module.stride[0] for module in block.modules() if isinstance(module, torch.nn.Conv2d)]
    assert strides == [1, 2, 1]


@pytest.mark.parametrize(("frozen", "parts"), [(-1, 0), (0, 1), (2, 3)])
def test_frozen_parts_neither_learn_nor_count(frozen: int, parts: int) -> None:
    backbone = ImageBackbone(dataclasses.replace(SMALL, frozen_stages=frozen)).train()
    stem = backbone.model.get_submodule("embedder")
    stages = [backbone.model.get_submodule(f"encoder.stages.{i}") for i in range(4)]
    for i, part in enumerate([stem, *stages]):
        norms = [module for module in part.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert norms
        assert all(norm.training == (i >= parts) and norm.eps == 1e-5 for norm in norms)
        assert all(parameter.requires_grad == (i >= parts) for parameter in part.parameters())


def test_weights_come_from_a_local_folder(tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    described = ResNetConfig(depths=list(SMALL.depths), hidden_sizes=list(SMALL.channels), num_labels=3)
    trained = ResNetForImageClassification(described)
    trained.save_pretrained(tmp_path)
    backbone = ImageBackbone(dataclasses.replace(SMALL, weights=str(tmp_path)))
    backbone.load_pretrained()
    expected = {name: value for name, value in trained.resnet.state_dict().items() if not name.startswith("pooler")}
    found = backbone.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_loading_weights_leaves_device_contexts_whole(tmp_path: Path, repository: Path) -> None:
    ImageBackbone(SMALL).model.save_pretrained(tmp_path)
    code = (
        "import torch\n"
        "from selfocc_ros.model.config import ImageBackboneConfig\n"
        "from selfocc_ros.model.image_backbone import ImageBackbone\n"
        f"sizes = dict(depths=(1, 1, 1, 1), channels=(16, 16, 24, 32), weights={str(tmp_path)!r})\n"
        "ImageBackbone(ImageBackboneConfig(**sizes)).load_pretrained()\n"
        "with torch.device('meta'):\n"
        "    print(torch.linspace(0, 1, 3).device)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository)
    assert done.stdout == "meta\n", done.stderr


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    ImageBackbone(SMALL).model.save_pretrained(tmp_path)
    other = dataclasses.replace(SMALL, channels=(16, 16, 24, 64), weights=str(tmp_path))
    with pytest.raises(ConfigError, match=r"another network than configured: encoder\.stages\.3"):
        ImageBackbone(other).load_pretrained()


def test_without_network_one_sentence_says_how_to_go_on(tmp_path: Path) -> None:
    backbone = ImageBackbone(dataclasses.replace(SMALL, weights=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match=r"cannot be had .*name its folder, or leave backbone\.weights empty"):
        backbone.load_pretrained()


def test_an_unknown_kind_of_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="backbone 'resnext' cannot be built"):
        ImageBackbone(dataclasses.replace(SMALL, name="resnext"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"depths": (1, 1, 1)}, "depths must hold 4 numbers above 0, one for each stage of 'resnet', found"),
        ({"channels": ()}, "channels must hold 4 numbers"),
        ({"frozen_stages": 5}, "frozen_stages must be -1 to 4, found 5"),
    ],
)
def test_sizes_of_no_resnet_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ImageBackbone(dataclasses.replace(SMALL, **change))


def test_the_fast_family_needs_no_transformers(repository: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['transformers'] = None\n"
        "from selfocc_ros.model.checkpoint import load_checkpoint, shipped_checkpoint\n"
        "print(load_checkpoint(shipped_checkpoint())[1].config.family)\n"
        "from selfocc_ros.model.config import load_model_config\n"
        "from selfocc_ros.model.families import build_network\n"
        "build_network(load_model_config('nuscenes_tpv'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.stdout == "fast\n", done.stderr
    assert "needs the Python package transformers" in done.stderr.strip().split("\n")[-1]
