# SPDX-License-Identifier: Apache-2.0
"""Plane encoder: what each camera may change and what may change nothing, in tests without recordings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType

import pytest
import torch
from torch import Tensor

from selfocc_ros.geometry.voxels import GridError
from selfocc_ros.model.planes import cross_attention, slab_attention
from selfocc_ros.model.planes.encoder import PlaneEncoder
from selfocc_ros.model.planes.geometry import BEV, HW, TPV, Plane, PlaneGrid
from selfocc_ros.model.planes.queries import PlaneQueries
from selfocc_ros.model.planes.rig_cache import PlaneRigCache, project_anchors
from selfocc_ros.model.planes.sampling import within_reach
from selfocc_ros.model.planes.self_attention import bird_eye_references
from selfocc_ros.ops.deformable_attention import auto_means

GRID = PlaneGrid((-6.0, -8.0, -1.0), (6.0, 8.0, 3.0), (7, 9, 5))
IMAGE = (40, 64)
DIM = 12
BOTH = pytest.mark.parametrize("planes", [TPV, BEV], ids=["tpv", "bev"])


def looking(yaw: float) -> Tensor:
    """(4, 4) box frame to pixel * depth of a level camera one metre up that looks ``yaw`` radians to the left of x."""
    forward = torch.tensor([math.cos(yaw), math.sin(yaw), 0.0])
    right = torch.tensor([math.sin(yaw), -math.cos(yaw), 0.0])
    rotation = torch.stack([right, torch.tensor([0.0, 0.0, -1.0]), forward])
    pose = torch.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ torch.tensor([0.1, 0.2, 1.0])
    intrinsics = torch.eye(4)
    intrinsics[0, 0] = intrinsics[1, 1] = 30.0
    intrinsics[0, 2], intrinsics[1, 2] = IMAGE[1] / 2, IMAGE[0] / 2
    return intrinsics @ pose


RIG = torch.stack([looking(0.3), looking(2.5), looking(-2.0)])
NOWHERE = torch.eye(4)
NOWHERE[2, 3] = -100.0  # all of the box is behind this camera


def network(
    planes: Sequence[Plane], anchors: tuple[int, int, int] = (6, 5, 3), checkpoint_layers: bool = False
) -> tuple[PlaneQueries, PlaneEncoder]:
    torch.manual_seed(0)
    encoder = PlaneEncoder(
        GRID,
        planes,
        4,
        dim=DIM,
        heads=2,
        layers=2,
        levels=2,
        hidden=16,
        anchors=anchors,
        self_points=4,
        checkpoint_layers=checkpoint_layers,
    )
    for name, parameter in encoder.named_parameters():
        if name.endswith(("sampling_offsets.weight", "attention_weights.weight")):
            torch.nn.init.normal_(parameter, std=0.3)  # so that attention looks differently from token to token
    return PlaneQueries(GRID, planes, DIM), encoder.eval()


def feature_maps(cameras: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(cameras, DIM, *shape, generator=generator) for shape in ((10, 16), (5, 8))]


@torch.no_grad()
def encode(
    network: tuple[PlaneQueries, PlaneEncoder], cache: PlaneRigCache, maps: Sequence[Tensor]
) -> dict[str, Tensor]:
    lifter, encoder = network
    planes: dict[str, Tensor] = encoder(lifter(), maps, cache)
    return planes


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-5)


def test_nodes_lie_on_both_borders_of_the_box() -> None:
    one_sided = PlaneGrid((-19.2, 0.0, -2.0), (19.2, 51.2, 4.4), (25, 33, 11))
    for grid in (GRID, one_sided):
        for axis in range(3):
            coordinates = grid.coordinates(axis)
            expected = torch.linspace(grid.lower[axis], grid.upper[axis], grid.nodes[axis])
            torch.testing.assert_close(coordinates, expected, atol=1e-5, rtol=0)
            assert grid.unit(axis, coordinates[[0, -1]]).tolist() == [0.0, 1.0]
    with pytest.raises(GridError, match="must lie above"):
        PlaneGrid((0.0, 0.0, 0.0), (1.0, 0.0, 1.0), (2, 2, 2))
    with pytest.raises(GridError, match="at least 2 nodes"):
        PlaneGrid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (2, 2, 1))


@pytest.mark.parametrize("plane", TPV, ids=[plane.name for plane in TPV])
def test_anchors_keep_the_tokens_place_and_span_the_lacking_axis(plane: Plane) -> None:
    anchors = GRID.anchors(plane, 4)
    rows, columns = GRID.shape(plane)
    token = 2 * columns + 3
    assert anchors.shape == (rows * columns, 4, 3)
    assert (anchors[token, :, plane.rows] == GRID.coordinates(plane.rows)[2]).all()
    assert (anchors[token, :, plane.columns] == GRID.coordinates(plane.columns)[3]).all()
    assert anchors[token, 0, plane.lacks] == GRID.lower[plane.lacks]
    assert anchors[token, -1, plane.lacks] == GRID.upper[plane.lacks]


def test_projection_counts_what_is_in_front_and_inside() -> None:
    ahead = torch.tensor([[[3.1, 0.2, 1.0], [-3.0, 0.2, 1.0], [3.1, 40.0, 1.0]]])
    size = torch.tensor([64.0, 40.0])
    references, visible = project_anchors(ahead, looking(0.0), size, torch.tensor([0.5, 0.8]))
    assert visible.tolist() == [[True, False, False]]
    torch.testing.assert_close(references[0, 0], torch.tensor([0.25, 0.4]))  # the middle of what the crop fills
    assert references.isfinite().all()


@BOTH
def test_planes_have_the_shapes_of_the_grid(planes: Sequence[Plane]) -> None:
    net = network(planes)
    out = encode(net, net[1].prepare(RIG, IMAGE), feature_maps(3))
    assert {name: tuple(tokens.shape) for name, tokens in out.items()} == {
        plane.name: (GRID.tokens(plane), DIM) for plane in planes
    }


@BOTH
def test_a_camera_that_sees_nothing_contributes_nothing(planes: Sequence[Plane]) -> None:
    net = network(planes)
    maps = feature_maps(4)
    blind = net[1].prepare(torch.cat([RIG, NOWHERE[None]]), IMAGE)
    assert all(hit.camera < 3 for hits in blind.planes.values() for slab in hits.slabs for hit in slab.hits)
    three = encode(net, net[1].prepare(RIG, IMAGE), [features[:3] for features in maps])
    assert_same(encode(net, blind, maps), three)


@BOTH
def test_tokens_without_a_camera_get_the_bias_alone(planes: Sequence[Plane]) -> None:
    net = network(planes)
    cache = net[1].prepare(RIG[:1], IMAGE)
    attention = net[1].layers[0].attentions[1]
    attention = getattr(attention, "attn_hw", attention)
    unseen = cache.planes["hw"].counts == 0
    assert 0 < int(unseen.sum()) < len(unseen)
    torch.nn.init.normal_(attention.output_proj.bias)
    given: list[Tensor] = []
    attention.register_forward_hook(lambda _module, inputs, output: given.extend([inputs[0], output]))
    encode(net, cache, feature_maps(1))
    change = given[1] - given[0]
    torch.testing.assert_close(change[unseen], attention.output_proj.bias.expand(int(unseen.sum()), -1))
    assert (change[~unseen] - attention.output_proj.bias).norm(dim=-1).min() > 1e-3


@BOTH
def test_the_order_of_the_cameras_does_not_matter(planes: Sequence[Plane]) -> None:
    net = network(planes)
    maps = feature_maps(3)
    order = torch.tensor([2, 0, 1])
    cache = net[1].prepare(RIG[order], IMAGE, cameras=order)
    expected = encode(net, net[1].prepare(RIG, IMAGE), maps)
    assert_same(encode(net, cache, [features[order] for features in maps]), expected)
    with pytest.raises(ValueError, match="4 camera embeddings"):
        net[1].prepare(RIG, IMAGE, cameras=torch.tensor([0, 1, 4]))


@BOTH
def test_a_cache_serves_again_in_slabs_of_any_size(planes: Sequence[Plane]) -> None:
    net = network(planes)
    maps = feature_maps(3)
    whole = net[1].prepare(RIG, IMAGE)
    assert all(len(hits.slabs) == 1 for hits in whole.planes.values())
    expected = encode(net, whole, maps)
    assert_same(encode(net, whole, maps), expected)
    slabs = net[1].prepare(RIG, IMAGE, slab_samples=120)
    assert all(len(hits.slabs) > 3 for hits in slabs.planes.values())
    assert_same(encode(net, slabs, maps), expected)


@pytest.mark.parametrize("path", [cross_attention, slab_attention])
def test_anchors_out_of_reach_are_left_out_without_effect(monkeypatch: pytest.MonkeyPatch, path: ModuleType) -> None:
    lifter, encoder = network(TPV, anchors=(24, 16, 8))
    cache = encoder.prepare(RIG, IMAGE)
    kept: list[Tensor] = []

    def watched(references: Tensor, reach: Tensor) -> Tensor:
        kept.append(within_reach(references, reach))
        return kept[-1]

    with torch.set_grad_enabled(path is cross_attention):
        monkeypatch.setattr(path, "within_reach", watched)
        found = encoder(lifter(), feature_maps(3), cache)
        assert 0.2 < torch.cat([bundles.flatten() for bundles in kept]).float().mean() < 0.9
        monkeypatch.setattr(path, "within_reach", lambda references, _: references.isfinite().any(-1).any(-1))
        assert_same(found, encoder(lifter(), feature_maps(3), cache))


@BOTH
@pytest.mark.parametrize("anchors", [(8, 8, 4), (24, 15, 7)])
def test_without_gradients_the_same_is_computed_slab_by_slab(
    planes: Sequence[Plane], anchors: tuple[int, int, int]
) -> None:
    lifter, encoder = network(planes, anchors=anchors)
    cache = encoder.prepare(RIG, IMAGE, slab_samples=700)
    with auto_means("reference"):
        expected = encoder(lifter(), feature_maps(3), cache)
    assert_same(encode((lifter, encoder), cache, feature_maps(3)), expected)


def test_the_size_of_each_camera_may_differ() -> None:
    net = network(BEV)
    scale = torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0]))
    sizes = torch.tensor([IMAGE, IMAGE, (IMAGE[0] * 3, IMAGE[1] * 2)])
    cache = net[1].prepare(torch.stack([RIG[0], RIG[1], scale @ RIG[2]]), sizes)
    assert_same(encode(net, cache, feature_maps(3)), encode(net, net[1].prepare(RIG, IMAGE), feature_maps(3)))


@BOTH
@pytest.mark.parametrize("checkpoint_layers", [False, True])
def test_gradients_reach_every_parameter(planes: Sequence[Plane], checkpoint_layers: bool) -> None:
    lifter, encoder = network(planes, checkpoint_layers=checkpoint_layers)
    encoder.train()
    cache = encoder.prepare(RIG, IMAGE, cameras=torch.arange(3), slab_samples=500)
    maps = [features.requires_grad_() for features in feature_maps(3)]
    # Plain sums of layer norms are constant.
    sum((tokens * torch.randn_like(tokens)).sum() for tokens in encoder(lifter(), maps, cache).values()).backward()
    leaves = {**dict(lifter.named_parameters()), **dict(encoder.named_parameters())}
    for name, leaf in [*leaves.items(), *((f"map {i}", features) for i, features in enumerate(maps))]:
        assert leaf.grad is not None, name
        assert leaf.grad.isfinite().all(), name
        assert leaf.grad.abs().sum() > 0, name


def test_checkpointed_layers_give_the_same_gradients() -> None:
    gradients = []
    for checkpoint_layers in (False, True):
        lifter, encoder = network(TPV, checkpoint_layers=checkpoint_layers)
        encoder.train()
        torch.manual_seed(2)  # the same dropout
        out = encoder(lifter(), feature_maps(3), encoder.prepare(RIG, IMAGE))
        torch.manual_seed(3)
        sum((tokens * torch.randn_like(tokens)).sum() for tokens in out.values()).backward()
        gradients.append([parameter.grad for parameter in (*lifter.parameters(), *encoder.parameters())])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, atol=1e-4, rtol=1e-4)


def test_attention_starts_with_each_head_looking_its_own_way() -> None:
    torch.manual_seed(0)
    encoder = PlaneEncoder(GRID, TPV, 1, dim=DIM, heads=4, layers=1, levels=2, anchors=(6, 5, 3), self_points=4)
    own, cross = encoder.layers[0].attentions
    fanned = own.sampling_offsets.bias.view(4, 3, 4, 2)
    torch.testing.assert_close(fanned[1, 2], torch.arange(1.0, 5)[:, None] * torch.tensor([0.0, 1.0]))
    level = cross.attn_hw.deformable_attention.sampling_offsets.bias.view(4, 2, 3, 2)
    torch.testing.assert_close(level[2], torch.tensor([-1.0, 0.0]).expand(2, 3, 2))
    assert not own.attention_weights.weight.any()
    assert encoder.positional_encoding.position_layer_zh.weight.abs().max() <= math.sqrt(6 / (48 + DIM))
    assert 0.5 < encoder.level_embeds.std() < 1.5


def test_the_birds_eye_reference_is_the_tokens_own_cell_unless_official() -> None:
    rows, columns = GRID.shape(HW)
    token = 2 * columns + 5
    own = bird_eye_references(GRID, HW, official_quirks=False)[token, 0, 0]
    torch.testing.assert_close(own, torch.tensor([5.5 / columns, 2.5 / rows]))
    mirrored = bird_eye_references(GRID, HW, official_quirks=True)[token, 0, 0]
    torch.testing.assert_close(mirrored, torch.tensor([2 / (rows - 1), 5 / (columns - 1)]))


def test_parameters_bear_the_published_names() -> None:
    lifter, encoder = network(TPV)
    assert set(lifter.state_dict()) == {"tpv_hw", "tpv_zh", "tpv_wz"}
    names = set(encoder.state_dict())
    assert {
        "cams_embeds",
        "level_embeds",
        "positional_encoding.position_layer_wz.weight",
        "layers.1.attentions.0.output_proj.bias",
        "layers.1.attentions.1.attn_zh.deformable_attention.value_proj.weight",
        "layers.1.attentions.1.attn_zh.output_proj.weight",
        "layers.1.ffns.0.layers.0.0.weight",
        "layers.1.ffns.0.layers.1.bias",
        "layers.1.norms.2.weight",
    } <= names
    assert not any("references" in name or "anchors" in name or "features" in name for name in names)
    lifter, encoder = network(BEV)
    assert set(lifter.state_dict()) == {"bev"}
    assert {"positional_encoding.position_layer.bias", "layers.0.attentions.1.output_proj.weight"} <= set(
        encoder.state_dict()
    )
