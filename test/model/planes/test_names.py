# SPDX-License-Identifier: Apache-2.0
"""Names of official checkpoints' entries: there and back, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from selfocc_ros.model.planes.names import NOT_USED, official_name, own_name

STAGE = "backbone.model.encoder.stages"


@pytest.mark.parametrize(
    ("official", "own"),
    [
        ("img_backbone.conv1.weight", "backbone.model.embedder.embedder.convolution.weight"),
        ("img_backbone.bn1.running_var", "backbone.model.embedder.embedder.normalization.running_var"),
        ("img_backbone.layer1.0.conv1.weight", f"{STAGE}.0.layers.0.layer.0.convolution.weight"),
        ("img_backbone.layer4.2.bn3.bias", f"{STAGE}.3.layers.2.layer.2.normalization.bias"),
        ("img_backbone.layer3.10.conv2.weight", f"{STAGE}.2.layers.10.layer.1.convolution.weight"),
        ("img_backbone.layer2.0.downsample.0.weight", f"{STAGE}.1.layers.0.shortcut.convolution.weight"),
        ("img_backbone.layer2.0.downsample.1.running_mean", f"{STAGE}.1.layers.0.shortcut.normalization.running_mean"),
        ("img_neck.lateral_convs.3.conv.bias", "neck.lateral.3.bias"),
        ("img_neck.fpn_convs.0.conv.weight", "neck.smooth.0.weight"),
        ("lifter.tpv_hw", "lifter.tpv_hw"),
        ("encoder.layers.0.attentions.1.attn_zh.output_proj.bias", None),
        ("head.model.field.density_net.3.weight", "field.density_net.3.weight"),
        ("head.model.field_background", "field_background"),
    ],
)
def test_there_and_back(official: str, own: str | None) -> None:
    expected = official if own is None else own
    assert own_name(official) == expected
    assert official_name(expected) == official


@pytest.mark.parametrize("name", NOT_USED)
def test_what_is_not_used_has_no_place(name: str) -> None:
    assert own_name(name) is None


@pytest.mark.parametrize(
    "name",
    ["module.img_backbone.conv1.weight", "img_backbone.layer1.0.conv1", "head.model.sampler.x", "lifter.", "img_neck"],
)
def test_other_names_are_not_taken_for_official_ones(name: str) -> None:
    with pytest.raises(KeyError):
        own_name(name)
