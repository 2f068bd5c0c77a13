# SPDX-License-Identifier: Apache-2.0
"""Every term of every configuration, on networks of every family: finite, learnable, and blind to masked pixels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import small_networks
import torch

from selfocc_ros.configuration import ConfigError, from_mapping
from selfocc_ros.model.config import ModelConfig, parse_model_config
from selfocc_ros.model.families import Network, build_network
from selfocc_ros.model.selfocc import build_model
from selfocc_training.config import DataConfig, LossConfig, load_train_config
from selfocc_training.objective import total_loss, training_losses
from selfocc_training.steps import Step, draw_step
from selfocc_training.town_clips import Clip

FAST = {**small_networks.FAST, "head": {"classes": ["road", "car"]}}
PLANES = {
    **small_networks.PLANES,
    "input": {"width": 64, "height": 48, "crop": [64, 48], "camera_width": 64, "scale": 1.0},
    "head": {"classes": [4, 11]},
}
DATA = DataConfig(current_views=2, anchor_views=2, anchor_reach=2, widest_gap=2, widen_steps=10, grid=(8, 10))

PUBLISHED: dict[str, Any] = {"distances": 0, "rgb_behind": "noise", "eikonal": 0.1, "eikonal_at": "samples",
                             "hessian_stencil": "wide", "opacity": 0, "background_from": None}  # fmt: skip
COMBINED = {**PUBLISHED, "reprojection_kind": "combined"}
SEPARATE = {**PUBLISHED, "reprojection_kind": "separate"}
DEPTH = {"rgb": 0, "hessian": 0, "edge": 0.01, "edge_of": "depth"}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "nuscenes_occ": {**COMBINED, "rgb": 0.1, "hessian": 0.01, "semantic": 0.1},
    "nuscenes_occ_bev": {**COMBINED, "rgb": 0.1, "hessian": 0.01, "semantic": 0.1, "semantic_kind": "bce",
                         "sparsity": 0.001},
    "nuscenes_novel_depth": {**COMBINED, "rgb": 0.1, "hessian": 0.01},
    "nuscenes_depth": {**COMBINED, **DEPTH},
    "kitti_occ": {**SEPARATE, "rgb": 0.1, "hessian": 0.1, "hessian_stencil": "compact", "sparsity": 0.005},
    "kitti_novel_depth": {**SEPARATE, "rgb": 0.1, "hessian": 0.01},
    "kitti_raw_depth": {**SEPARATE, **DEPTH},
    "ours": {"edge": 0.01},
    "adaptive": {"sparsity": 0.01, "sparsity_kind": "adaptive"},
    "hard": {"sparsity": 0.01, "sparsity_kind": "hard"},
    "streetsurf": {"sparsity": 0.01, "sparsity_kind": "streetsurf"},
    "no auto-mask": {"auto_mask": False},
}  # fmt: skip
"""The first seven are those that SelfOcc was published with."""

WEIGHTS = {field.name for field in dataclasses.fields(LossConfig) if isinstance(field.default, float)}


def losses(**values: Any) -> LossConfig:
    return from_mapping(LossConfig, values, "loss")


def network(values: dict[str, Any], **changes: Any) -> Network:
    torch.manual_seed(0)
    return build_network(parse_model_config({**values, **changes}, "test")).eval()


def labelled(clip: Clip) -> Clip:
    """The upper half of all pictures is of class 1, the lower of 0, the left border of none."""
    labels = np.zeros(clip.images[:, :, 0].shape, np.uint8)
    labels[:, :, :24] = 1
    labels[..., :20] = 255
    return dataclasses.replace(clip, labels=labels)


def masked(clip: Clip) -> Clip:
    """A bonnet in all pictures, and something that goes from right to left."""
    ego, moving = np.ones(clip.images.shape[1:2] + clip.images.shape[3:], np.bool_), None
    ego[:, 38:] = False
    moving = np.ones(clip.images[:, :, 0].shape, np.bool_)
    for k in range(len(moving)):
        moving[k, :, 5:25, 40 - 5 * k : 58 - 5 * k] = False
    return dataclasses.replace(clip, ego_mask=ego, moving_mask=moving)


def gradients(model: Network, step: Step, config: LossConfig) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    model.zero_grad(set_to_none=True)
    terms = training_losses(model, step, config, False)
    torch.autograd.backward(total_loss(terms, config))
    return terms, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", ["fast", "tpv", "bev"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_configuration_takes_a_step(ground_clip: Clip, family: str, name: str) -> None:
    config = losses(**CONFIGURATIONS[name])
    model = network(FAST) if family == "fast" else network(PLANES, family=family)
    data = dataclasses.replace(DATA, wide_pair=config.reprojection_kind == "pairs")
    step = draw_step([labelled(ground_clip)], 1200, 0, data)
    terms, gradient = gradients(model, step, config)
    expected = {name for name in WEIGHTS if getattr(config, name)}
    assert set(terms) == expected - (set() if family == "fast" else {"distances"})
    assert torch.isfinite(gradient).all()
    assert all(torch.isfinite(term) for term in terms.values())
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("kind", ["pairs", "combined", "separate"])
@pytest.mark.parametrize("family", ["fast", "tpv"])
def test_masked_pixels_have_no_influence_at_all(ground_clip: Clip, family: str, kind: str) -> None:
    model = network(FAST) if family == "fast" else network(PLANES, family=family)
    background = 0 if kind == "pairs" else None
    config = losses(reprojection_kind=kind, edge=0.1, background_from=background, semantic=0.1)
    step = draw_step([masked(labelled(ground_clip))], 3, 0, DATA)
    views = step.views
    assert views.use is not None
    assert views.source_use is not None
    assert views.labels is not None
    spoiled = dataclasses.replace(
        views,
        images=torch.where(views.use[:, None], views.images, torch.nan),
        sources=torch.where(views.source_use[:, :, None], views.sources, torch.nan),
        labels=torch.where(views.use, views.labels, 0),
    )
    terms, gradient = gradients(model, step, config)
    same, same_gradient = gradients(model, dataclasses.replace(step, views=spoiled), config)
    for name, value in terms.items():
        assert torch.equal(value, same[name]), name
    assert torch.equal(gradient, same_gradient)
    plain, _ = gradients(model, draw_step([labelled(ground_clip)], 3, 0, DATA), config)
    changed = {name for name in terms if not torch.isclose(terms[name], plain[name], rtol=1e-5)}
    unaware = {"eikonal", "hessian", "opacity"}
    assert changed == set(terms) - unaware


def test_padding_of_smaller_pictures_has_no_influence(ground_clip: Clip) -> None:
    sizes = ground_clip.sizes.copy()
    sizes[1:] = 64, 30
    clip = labelled(dataclasses.replace(ground_clip, sizes=sizes))
    config = losses(edge=0.1, background_from=0, semantic=0.1)
    step = draw_step([clip], 4, 0, dataclasses.replace(DATA, drop_cameras=0))
    small = step.views.rigs.sizes[:, 1] == 30
    assert 0 < small.sum() < len(small)
    assert (step.grid.pixels[:, 1] > 31).any()
    images = step.views.images.clone()
    images[small, :, 30:] = torch.nan
    views = dataclasses.replace(step.views, images=images)
    terms, gradient = gradients(network(FAST), step, config)
    same, same_gradient = gradients(network(FAST), dataclasses.replace(step, views=views), config)
    assert all(torch.equal(value, same[name]) for name, value in terms.items())
    assert torch.equal(gradient, same_gradient)


def test_what_a_term_draws_follows_from_the_step(ground_clip: Clip) -> None:
    model = network(FAST)
    config = losses(rgb_behind="noise", sparsity=0.1)
    steps = [draw_step([ground_clip], number, 0, dataclasses.replace(DATA, mirror=False)) for number in (1, 1, 2)]
    terms = [gradients(model, step, config)[0] for step in steps]
    assert torch.equal(terms[0]["rgb"], terms[1]["rgb"])
    assert torch.equal(terms[0]["sparsity"], terms[1]["sparsity"])
    assert not torch.equal(terms[0]["sparsity"], terms[2]["sparsity"])


def test_what_lies_behind_a_transparent_box_is_the_picture_or_noise(ground_clip: Clip) -> None:
    model = build_model(from_mapping(ModelConfig, FAST, "test"))
    with torch.no_grad():
        model.coarse_sdf.bias += 100.0
        step = draw_step([ground_clip], 1, 0, DATA)
        right, noise = (training_losses(model, step, losses(rgb_behind=b), False)["rgb"] for b in ("image", "noise"))
    assert right < 1e-5
    assert noise > 0.3


def test_transparent_rays_teach_no_class(ground_clip: Clip) -> None:
    """A ray that the box lets through shows something beyond, whose class is none of the box's."""
    model = build_model(from_mapping(ModelConfig, FAST, "test"))
    step = draw_step([labelled(ground_clip)], 1, 0, DATA)
    semantic = losses(reprojection=0, distances=0, rgb=0, eikonal=0, hessian=0, opacity=0, semantic=1.0)
    slopes = []
    for shift in (0.0, 100.0):
        with torch.no_grad():
            model.coarse_sdf.bias += shift
        gradients(model, step, semantic)
        slopes.append(model.classes.weight.grad)
    assert slopes[0] is not None
    assert slopes[1] is not None
    assert slopes[0].abs().max() > 1e-3
    assert slopes[1].abs().max() < 1e-3 * slopes[0].abs().max()


@pytest.mark.parametrize("shuffle", [False, True])
def test_sources_of_other_clips_bring_their_own_masks(ground_clip: Clip, shuffle: bool) -> None:
    clips = [masked(ground_clip), ground_clip]
    data = dataclasses.replace(DATA, shuffle_sources=shuffle)
    found = set()
    for number in range(16):
        views = draw_step(clips, number, 0, data).views
        if views.use is not None and views.source_use is not None:
            found.add((bool(views.use.all()), bool(views.source_use.all())))
            terms, gradient = gradients(network(FAST), draw_step(clips, number, 0, data), LossConfig())
            assert torch.isfinite(gradient).all()
            assert terms["reprojection"] < 1
    assert found == ({(False, False), (False, True), (True, False)} if shuffle else {(False, False)})


def test_what_a_term_needs_must_be_there(ground_clip: Clip) -> None:
    plain, known = draw_step([ground_clip], 0, 0, DATA), draw_step([labelled(ground_clip)], 0, 0, DATA)
    semantic = losses(semantic=0.1)
    with pytest.raises(ConfigError, match="network small has no classes"):
        training_losses(network(FAST, head={}), known, semantic, False)
    with pytest.raises(ConfigError, match="the images have no class maps"):
        training_losses(network(PLANES, family="bev"), plain, semantic, False)
    with pytest.raises(ConfigError, match=r"must hold 0 to 0, .* found 1"):
        training_losses(network(PLANES, family="bev", head={"classes": [4]}), known, semantic, False)
    with pytest.raises(ConfigError, match=r"loss\.rgb is 0\.1, but network small_planes has no colour"):
        training_losses(network(PLANES, family="tpv", head={"colour": False}), plain, losses(rgb=0.1), False)


def test_forms_of_terms_are_words_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"loss\.hessian_stencil must be diagonal, wide or compact, found 'narrow'"):
        losses(hessian_stencil="narrow")
    with pytest.raises(ConfigError, match=r"loss\.background_from must be null"):
        losses(reprojection_kind="combined")


def test_published_losses_are_compared_on_the_same_drives_and_steps() -> None:
    published, ours = load_train_config("selfocc_town"), load_train_config("tiny_town")
    sources = {"widest_gap": ours.data.widest_gap, "widen_steps": ours.data.widen_steps, "wide_pair": True}
    data = dataclasses.replace(published.data, **sources)
    assert dataclasses.replace(published, data=data, loss=ours.loss) == ours
    assert published.loss == losses(**CONFIGURATIONS["nuscenes_novel_depth"])
