# SPDX-License-Identifier: Apache-2.0
"""Lifter and encoder against the official SelfOcc: three planes (six cameras, one camera) and the bird's eye plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfocc_ros.model.planes.encoder import PlaneEncoder
from selfocc_ros.model.planes.geometry import BEV, HW, TPV, Plane, PlaneGrid
from selfocc_ros.model.planes.queries import PlaneQueries
from selfocc_ros.model.planes.rig_cache import PlaneRigCache, project_anchors

TPV_FILES = ["tpv_encoder_nus6", "tpv_encoder_kitti1"]
FILES = [*TPV_FILES, "bev_encoder_nus6"]


@dataclass(frozen=True)
class Case:
    """A recording and the network built for it."""

    golden: Any
    planes: Sequence[Plane]
    lifter: PlaneQueries
    encoder: PlaneEncoder
    cache: PlaneRigCache

    @property
    def image(self) -> tuple[int, int]:
        height, width = self.golden["in.img_shape_hw"].tolist()
        return height, width

    def encode(self) -> dict[str, Tensor]:
        features = [self.golden[f"in.feat{level}"] for level in range(4)]
        with torch.no_grad():
            return self.encoder(self.lifter(), features, self.cache)

    def recorded(self, name: str) -> Tensor:
        """A recording that is whole in one file and cut into planes in another, as (tokens, dim) of all planes."""
        if name in self.golden.tensors:
            return self.golden[name]
        return torch.cat([self.golden[f"{name}.{plane.name}"] for plane in self.planes])


def build(golden: Any, slab_samples: int | None = None) -> Case:
    config = golden.config
    tpv = "plane_size_hwz" in config
    planes = TPV if tpv else BEV
    height, width, *depth = config["plane_size_hwz"] if tpv else config["bev_size_hw"]
    lower, upper = config["box"][:3], config["box"][3:]
    grid = PlaneGrid(tuple(lower), tuple(upper), (width, height, *(depth or [9])))
    points = config["num_points_cross"]
    along_y, along_x, along_z = points if tpv else (1, 1, points)
    lifter = PlaneQueries(grid, planes, config["dim"])
    encoder = PlaneEncoder(
        grid,
        planes,
        config["num_cams"],
        dim=config["dim"],
        heads=config["heads"],
        layers=config["num_layers"],
        hidden=config["ffn"],
        anchors=(along_x, along_y, along_z),
        self_points=config["num_points_self"],
    ).eval()
    lifter.load_state_dict(golden.under("param.lifter."))
    encoder.load_state_dict(golden.under("param.encoder."))
    ratios = golden.tensors.get("in.focal_ratios_xy")
    image = tuple(golden["in.img_shape_hw"].tolist())
    cache = encoder.prepare(golden["in.lidar2img"], image, ratios, slab_samples=slab_samples)
    return Case(golden, planes, lifter, encoder, cache)


@pytest.fixture(scope="module", params=FILES)
def case(request: pytest.FixtureRequest, golden: Callable[[str], Any]) -> Case:
    return build(golden(request.param))


def test_positional_encoding(case: Case, close: Callable[..., None]) -> None:
    with torch.no_grad():
        close(case.encoder.positional_encoding(), case.recorded("mid.pos_encoding"))


def test_references_of_the_birds_eye_plane(golden: Callable[[str], Any], close: Callable[..., None]) -> None:
    case = build(golden("bev_encoder_nus6"))
    close(case.encoder.references.reshape(33, 25, 2), case.golden["mid.ref_2d"], atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", TPV_FILES)
def test_which_anchors_are_seen(name: str, golden: Callable[[str], Any], close: Callable[..., None]) -> None:
    case = build(golden(name))
    anchors = case.encoder.get_buffer("anchors_hw")
    close(anchors, case.golden["mid.ref3d_m.hw"], atol=1e-5, rtol=0)
    size = torch.tensor(case.image[::-1])
    ratios = case.golden.tensors.get("in.focal_ratios_xy", torch.ones(6, 2))
    for camera, matrix in enumerate(case.golden["in.lidar2img"]):
        references, visible = project_anchors(anchors, matrix, size, ratios[camera])
        assert torch.equal(visible, case.golden["mid.cross_mask.hw"][camera].bool())
        if camera == 0:
            close(references.clamp(-5, 5), case.golden["mid.cross_uv.hw_cam0"])
    for plane, hits in case.cache.planes.items():
        assert torch.equal(hits.counts, case.golden[f"mid.cross_hit_count.{plane}"].long())
    assert (case.cache.planes[HW.name].counts == 0).any(), "some tokens should have no camera"


@pytest.mark.parametrize("slab_samples", [None, 20_000])
def test_every_step_of_every_layer(case: Case, slab_samples: int | None, close: Callable[..., None]) -> None:
    case = build(case.golden, slab_samples)
    found: dict[str, Tensor] = {}

    def watch(module: nn.Module, name: str) -> None:
        module.register_forward_hook(lambda _module, _inputs, output: found.update({name: output}))

    first = case.encoder.layers[0]
    watch(first.attentions[0], "mid.layer0.self_attn")
    watch(first.norms[0], "mid.layer0.norm0")
    watch(first.attentions[1], "mid.layer0.cross_attn")
    watch(first.ffns[0], "mid.layer0.ffn")
    for i, layer in enumerate(case.encoder.layers):
        watch(layer, f"out.layer{i}")
    planes = case.encode()
    found["out.final"] = torch.cat(list(planes.values()))
    for name, value in found.items():
        close(value, case.recorded(name), what=name)
