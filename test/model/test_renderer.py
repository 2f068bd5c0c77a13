# SPDX-License-Identifier: Apache-2.0
"""Rendering of fields whose answer is known."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from selfocc_ros.model.config import RendererConfig
from selfocc_ros.model.renderer import Rendered, box_interval, render, rendered_colour, section_edges
from selfocc_ros.model.scene import Scene, trilinear

LOWER, UPPER = torch.tensor([-8.0, -6.0, -1.0]), torch.tensor([8.0, 6.0, 3.0])
SHAPE = (33, 25, 9)


def node_points(shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    axes = [torch.linspace(a, b, n) for a, b, n in zip(LOWER.tolist(), UPPER.tolist(), shape, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def scene_of(sdf: torch.Tensor, sharpness: float = 20.0) -> Scene:
    colours = node_points((5, 5, 3)).permute(3, 0, 1, 2) / 10.0
    return Scene(sdf, colours, LOWER, UPPER, torch.tensor(sharpness), torch.zeros(1, 2, 1, 1))


def rays_down(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    origins = torch.tensor([0.0, 0.0, 1.5]).expand(count, 3)
    directions = torch.rand(count, 3, generator=generator) - torch.tensor([0.5, 0.5, 1.2])
    return origins, directions / directions.norm(dim=-1, keepdim=True)


def test_linear_fields_are_reproduced_anywhere_in_the_box() -> None:
    weights = torch.tensor([0.3, -0.7, 1.1])
    points = (torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * (UPPER - LOWER) * 0.99
    points = points + (LOWER + UPPER) / 2
    volume = (node_points() @ weights)[None]
    assert torch.allclose(trilinear(volume, points, LOWER, UPPER)[:, 0], points @ weights, atol=1e-4)
    scene = scene_of(volume[0])
    middle = (LOWER + UPPER) / 2  # half a spacing inside the border, where differences are not cut
    assert torch.allclose(scene.gradient(middle + (points - middle) * 0.85), weights.expand(500, 3), atol=1e-3)


def test_depth_of_a_plane_is_where_the_ray_meets_it() -> None:
    scene = scene_of(node_points()[..., 2] - 0.13)
    origins, directions = rays_down(200)
    rendered = render(scene, origins, directions, RendererConfig(samples=64))
    truth = (0.13 - origins[:, 2]) / directions[:, 2]
    inside = truth < rendered.exits
    assert inside.sum() > 100
    assert ((rendered.expected_distance() - truth).abs()[inside] < 0.03).all()
    assert ((rendered.median_distance() - truth).abs()[inside] < 0.15).all()
    assert (rendered.weights.sum(-1)[inside] > 0.98).all()


def test_empty_space_lets_all_light_through_to_the_exit() -> None:
    scene = scene_of(torch.full(SHAPE, 2.0))
    origins, directions = rays_down(50)
    rendered = render(scene, origins, directions, RendererConfig(samples=32))
    assert torch.allclose(rendered.left, torch.ones(50), atol=1e-4)
    assert torch.equal(rendered.expected_distance(), rendered.exits)
    assert torch.equal(rendered.median_distance(), rendered.exits)


def test_half_seen_edges_have_their_median_on_a_surface_and_their_mean_between_two() -> None:
    weights = torch.tensor([[0.0, 0.45, 0.0, 0.0, 0.4], [0.0, 0.1, 0.0, 0.0, 0.3]])
    distances = torch.arange(1.0, 6.0).expand(2, -1)
    rendered = Rendered(weights, distances, torch.tensor([0.15, 0.6]), torch.full((2,), 9.0), distances)
    assert rendered.median_distance().tolist() == [2.0, 5.0]
    assert torch.allclose(rendered.expected_distance(), torch.tensor([2.9 / 0.85, 1.7 / 0.4]))


def test_weights_and_what_is_left_add_up_to_one() -> None:
    generator = torch.Generator().manual_seed(1)
    scene = scene_of(torch.randn(SHAPE, generator=generator), sharpness=3.0)
    origins, directions = rays_down(100)
    jitter = torch.rand(100, 1, generator=generator)
    rendered = render(scene, origins, directions, RendererConfig(samples=48), jitter)
    assert torch.allclose(rendered.weights.sum(-1) + rendered.left, torch.ones(100), atol=1e-3)
    assert (rendered.distances.diff(dim=-1) > 0).all()


def test_sections_are_denser_near_and_span_the_interval() -> None:
    entry, leave = torch.tensor([1.0, 0.0]), torch.tensor([11.0, 5.0])
    edges = section_edges(entry, leave, 10, 4.0, None)
    assert torch.allclose(edges[:, 0], entry)
    assert torch.allclose(edges[:, -1], leave)
    lengths = edges.diff(dim=-1)
    assert torch.allclose(lengths[:, -1] / lengths[:, 0], torch.tensor(4.0 ** (9 / 10)).expand(2), rtol=1e-3)
    assert torch.allclose(section_edges(entry, leave, 10, 1.0, None).diff(dim=-1), ((leave - entry) / 10)[:, None])


def test_box_interval_of_axis_parallel_rays() -> None:
    entry, leave = box_interval(
        torch.tensor([[0.0, 0.0, 0.0], [-10.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]] * 2), LOWER, UPPER
    )
    assert torch.allclose(entry, torch.tensor([0.0, 2.0]))
    assert torch.allclose(leave, torch.tensor([8.0, 18.0]))


def test_colour_is_that_of_the_surface() -> None:
    scene = scene_of(node_points()[..., 2], sharpness=50.0)
    origins, directions = rays_down(100)
    rendered = render(scene, origins, directions, RendererConfig(samples=128))
    hit = origins + directions * rendered.expected_distance()[:, None]
    keep = rendered.left < 1e-3
    colour = rendered_colour(scene, rendered, origins, directions)
    assert (colour[keep] - hit[keep] / 10.0).abs().max() < 0.02


@pytest.mark.parametrize("sharpness", [2.0, 10.0])
def test_gradient_pulls_the_surface_towards_a_nearer_target(sharpness: float) -> None:
    level = torch.tensor(0.0, requires_grad=True)
    scene = dataclasses.replace(scene_of(torch.zeros(SHAPE), sharpness), nodes=node_points()[..., 2] - level)
    origins, directions = rays_down(60)
    rendered = render(scene, origins, directions, RendererConfig(samples=64))
    torch.autograd.backward(rendered.expected_distance().mean())
    assert level.grad is not None
    assert level.grad < 0  # a higher floor is nearer to a camera above it
