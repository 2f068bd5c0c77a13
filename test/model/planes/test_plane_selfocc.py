# SPDX-License-Identifier: Apache-2.0
"""The assembled network of the plane families: rigs, padding, frames and what a scene answers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_networks import NO_QUIRKS, PLANES, looking

from selfocc_ros.model.config import parse_model_config
from selfocc_ros.model.planes.config import BoxConfig, PlaneConfig, PlaneInputConfig
from selfocc_ros.model.planes.field_grid import FieldGrid
from selfocc_ros.model.planes.neus import render_neus
from selfocc_ros.model.planes.scene import PlaneScene, ground_from_box, to_ground
from selfocc_ros.model.planes.selfocc import PlaneSelfOcc, crop_intrinsics, nearest_directions
from selfocc_ros.model.renderer import rendered_colour
from selfocc_ros.model.rig_tensors import RigTensors

SMALL = {
    **PLANES,
    "input": {"width": 96, "height": 64, "crop": [160, 120], "camera_width": 160, "scale": 0.5},
    "head": {"classes": [4, 11]},
}


def small(**changes: Any) -> PlaneConfig:
    config = parse_model_config({**SMALL, **changes}, "small")
    assert isinstance(config, PlaneConfig)
    return config


def rig(*yaws: float) -> RigTensors:
    return looking(*yaws, focal=60.0, size=(80, 60))


@pytest.fixture(params=["tpv", "bev"])
def model(request: pytest.FixtureRequest) -> PlaneSelfOcc:
    torch.manual_seed(0)
    return PlaneSelfOcc(small(family=request.param)).eval()


@pytest.mark.parametrize("yaws", [(0.0,), (0.0, -1.0, 1.0, 3.1, 2.0, -2.0, 0.1)])
def test_any_number_of_cameras_gives_the_same_shapes(model: PlaneSelfOcc, yaws: tuple[float, ...]) -> None:
    with torch.inference_mode():
        scene = model.encode(torch.rand(len(yaws), 3, 64, 96) * 255, model.prepare(rig(*yaws)))
        assert scene.nodes.shape == (9, 11, 5)
        assert model.decide(scene).shape == (6, 4, 3)
        points = torch.rand(7, 2, 3)
        assert scene.colour(points).shape == scene.gradient(points).shape == (7, 2, 3)
        assert scene.class_logits(points).shape == (7, 2, 2)
        assert ((scene.colour(points) >= 0) & (scene.colour(points) <= 1)).all()


def test_rays_are_rendered_as_published_unless_told_otherwise(model: PlaneSelfOcc) -> None:
    with torch.inference_mode():
        scene = model.encode(torch.rand(1, 3, 64, 96) * 255, model.prepare(rig(0.0)))
        origins, directions, _ = rig(0.0).rays(torch.rand(1, 20, 2) * 60)
        rays, jitter = (origins[0], directions[0]), torch.rand(20, 1)
        for step, anneal in ((None, 1.0), (2500, 0.5)):
            found = model.render(scene, *rays, jitter, step=step)
            expected = render_neus(scene.grid, *rays, torch.ones(20), scene.sharpness, 16, anneal, jitter)
            assert torch.equal(found.weights, expected.weights)
            assert torch.equal(found.distances, expected.sample_depths)
            assert expected.colour is not None
            colour = rendered_colour(scene, found, *rays) * found.weights.sum(dim=-1, keepdim=True)
            # Colours are divided by an opacity of at least 1e-3, so those of nearly empty rays differ by less.
            torch.testing.assert_close(colour, expected.colour, atol=1e-3, rtol=1e-4)
        torch.manual_seed(0)
        ours = PlaneSelfOcc(small(family=model.config.family, renderer={"published": False, "samples": 16})).eval()
        assert not torch.allclose(ours.render(scene, *rays).weights, model.render(scene, *rays).weights)


def test_what_lies_in_the_padding_does_not_matter(model: PlaneSelfOcc) -> None:
    images = torch.rand(2, 3, 64, 96) * 255
    padded = images.clone()
    padded[:, :, 60:], padded[:, :, :, 80:] = 17.0, 200.0
    with torch.inference_mode():
        cache = model.prepare(rig(0.0, 1.0))
        assert torch.equal(model.encode(images, cache).nodes, model.encode(padded, cache).nodes)


def test_a_camera_keeps_its_embedding_when_others_fail(model: PlaneSelfOcc) -> None:
    assert model.prepare(rig(0.0, -1.0, 1.0, 3.1, 1.9, -1.9)).encoder.cameras.tolist() == [0, 1, 2, 3, 4, 5]
    assert model.prepare(rig(3.1, -0.9)).encoder.cameras.tolist() == [3, 1]
    assert nearest_directions(rig(0.2).base_from_camera, torch.tensor([0.0])).tolist() == [0]


def test_gradients_reach_every_trained_part(model: PlaneSelfOcc) -> None:
    model.train()
    scene = model.encode(torch.rand(1, 3, 64, 96) * 255, model.prepare(rig(0.0)))
    points = torch.rand(50, 3)
    (scene.sdf(points).sum() + scene.colour(points).sum() + scene.class_logits(points).sum()).backward()  # type: ignore[no-untyped-call]
    quiet = {name for name, value in model.named_parameters() if value.requires_grad and value.grad is None}
    # Sharpness is for rendering.
    assert quiet == {"field.deviation_network.variance"}
    stem = [value for name, value in model.named_parameters() if "embedder" in name]
    assert stem
    assert all(value.grad is None for value in stem)


def test_pixels_of_the_crop() -> None:
    config = PlaneInputConfig(width=400, height=192, crop=(1600, 768), scale=0.25)
    full = torch.tensor([1200.0, 1300.0, 810.0, 440.0])
    scaled = torch.cat([full[:2] / 4, (full[2:] + 0.5) / 4 - 0.5])[None]
    matrix = crop_intrinsics(scaled, config, corner_pixels=True)[0]
    assert matrix[[0, 1, 0, 1], [0, 1, 2, 2]].tolist() == pytest.approx(full.tolist(), abs=1e-4)
    right = crop_intrinsics(scaled, config, corner_pixels=False)[0]
    assert (right - matrix)[:2, 2].tolist() == pytest.approx([0.5, 0.5])


def test_without_crop_a_camera_reads_where_its_own_image_shows_the_anchor() -> None:
    """Cameras whose images fill different parts of the input: references are pixels of the input, over its size."""
    model = PlaneSelfOcc(small(input={"width": 96, "height": 64}, official_quirks=NO_QUIRKS))
    cameras = rig(0.0, 0.0)
    cameras.intrinsics[1] = torch.tensor([48.0, 50.0, 29.0, 20.0])
    cameras.sizes[1] = torch.tensor([60.0, 42.0])
    anchors = model.encoder.get_buffer("anchors_hw")
    for camera, hits in enumerate(model.prepare(cameras).encoder.planes["hw"].slabs[0].hits):
        pixels, depth, _ = cameras.select(torch.tensor([camera])).project(anchors.reshape(-1, 3))
        shares = (pixels[0] + 0.5) / torch.tensor([96.0, 64.0])
        expected = shares.reshape(*anchors.shape[:2], 2)[hits.rows]
        ahead = depth.reshape(anchors.shape[:2])[hits.rows] > 0.1
        assert hits.camera == camera
        torch.testing.assert_close(hits.references[ahead].clamp(-2, 2), expected[ahead].clamp(-2, 2), atol=1e-4, rtol=0)
        used = cameras.sizes[camera] / torch.tensor([96.0, 64.0])
        assert (((expected > 0) & (expected < used)).all(dim=-1) & ahead).any(dim=-1).all()


@pytest.mark.parametrize("axes", ["forward_left_up", "right_forward_up"])
def test_a_grid_says_the_same_in_the_ground_frame(axes: str) -> None:
    box = BoxConfig((-2.0, 0.0, -1.0), (2.0, 6.0, 1.0), (5, 7, 3), axes, (0.5, -0.25, 1.75))
    values = torch.randn(6, 5, 7, 3)
    grid = FieldGrid.from_values(values, torch.tensor(box.lower), torch.tensor(box.upper))
    turned = to_ground(grid, box)
    pose = ground_from_box(box).float()
    points = torch.rand(40, 3) * 8 - torch.tensor([4.0, 1.0, 2.0])
    moved = points @ pose[:3, :3].T + pose[:3, 3]
    torch.testing.assert_close(turned.sdf_at(moved), grid.sdf_at(points))
    torch.testing.assert_close(turned.features_at(moved), grid.features_at(points))
    torch.testing.assert_close(turned.gradient_at(moved), grid.gradient_at(points) @ pose[:3, :3].T)


def test_a_network_without_colour_is_grey() -> None:
    grid = FieldGrid.from_values(torch.rand(1, 3, 3, 3), torch.zeros(3), torch.ones(3))
    scene = PlaneScene.of(grid, torch.tensor([7.0]))
    assert scene.colour(torch.rand(4, 3)).unique().tolist() == [0.5]
    assert scene.class_logits(torch.rand(4, 3)).shape == (4, 0)
