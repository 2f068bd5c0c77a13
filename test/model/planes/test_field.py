# SPDX-License-Identifier: Apache-2.0
"""Plane fields, their grids and their rendering, where the answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from selfocc_ros.model.planes import field as field_module
from selfocc_ros.model.planes.field import PillarField, Planes, TriplaneField
from selfocc_ros.model.planes.field_grid import FieldGrid, central_differences, lattice
from selfocc_ros.model.planes.neus import anneal_ratio, neus_alpha, render_neus
from selfocc_ros.model.planes.rays import bin_edges, box_interval, pixel_grid, pixel_rays

LOWER, UPPER = (-8.0, -6.0, -1.0), (8.0, 6.0, 3.0)
SHAPE = (17, 13, 5)
CHANNELS = 6


def box() -> tuple[Tensor, Tensor]:
    return torch.tensor(LOWER), torch.tensor(UPPER)


def node_points(shape: tuple[int, int, int] = SHAPE) -> Tensor:
    axes = [torch.linspace(a, b, n) for a, b, n in zip(LOWER, UPPER, shape, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def grid_of(sdf: Tensor, features: Tensor | None = None) -> FieldGrid:
    values = sdf[None] if features is None else torch.cat([sdf[None], features])
    return FieldGrid.from_values(values, *box())


def random_planes(requires_grad: bool = False) -> Planes:
    generator = torch.Generator().manual_seed(5)
    x, y, z = SHAPE
    sizes = (x, y), (y, z), (x, z)
    return Planes(*(torch.randn(*s, CHANNELS, generator=generator).requires_grad_(requires_grad) for s in sizes))


def triplane(**options: object) -> TriplaneField:
    torch.manual_seed(2)
    return TriplaneField(CHANNELS, 7, LOWER, UPPER, **options)  # type: ignore[arg-type]


def rays_down(count: int) -> tuple[Tensor, Tensor, Tensor]:
    origins = torch.tensor([0.0, 0.0, 1.5]).expand(count, 3)
    directions = torch.rand(count, 3, generator=torch.Generator().manual_seed(3)) - torch.tensor([0.5, 0.5, 1.2])
    return origins, directions / directions.norm(dim=-1, keepdim=True), torch.full((count,), 1.25)


def test_each_token_lands_at_its_own_node() -> None:
    x, y, z = SHAPE
    # A token's features are its official indices, counted here as its layout is defined: the last index runs fastest.
    hw = torch.tensor([(h, w) for h in range(y) for w in range(x)])
    zh = torch.tensor([(d, h) for d in range(z) for h in range(y)])
    wz = torch.tensor([(w, d) for w in range(x) for d in range(z)])
    planes = Planes.from_tokens(SHAPE, hw, zh, wz)
    assert planes.yz is not None
    assert planes.xz is not None
    assert planes.xy[3, 11].tolist() == [11, 3]  # x = w = 3, y = h = 11
    assert planes.yz[11, 2].tolist() == [2, 11]
    assert planes.xz[3, 2].tolist() == [3, 2]
    with pytest.raises(ValueError, match="the zh plane of 17 x 13 x 5 nodes has 65 tokens, not 85"):
        Planes.from_tokens(SHAPE, hw, wz, zh)


@pytest.mark.parametrize("first_activation", [True, False])
def test_planes_are_summed_at_every_node(first_activation: bool) -> None:
    field, planes = triplane(first_activation=first_activation), random_planes()
    grid = field(planes)
    assert planes.yz is not None
    assert planes.xz is not None
    for x, y, z in ((0, 0, 0), (16, 12, 4), (3, 11, 2)):
        values = field.density_net(planes.xy[x, y] + planes.yz[y, z] + planes.xz[x, z])
        assert torch.allclose(grid.sdf[x, y, z], values[0], atol=1e-6)
        assert torch.allclose(grid.features[:, x, y, z], values[1:], atol=1e-6)
    distance_alone = field(planes, with_features=False)
    assert torch.allclose(distance_alone.sdf, grid.sdf, atol=1e-6)
    assert distance_alone.features is None


@pytest.mark.parametrize("first_activation", [True, False])
def test_slabs_equal_the_whole_and_so_do_their_gradients(first_activation: bool) -> None:
    found = []
    for slab_nodes in (10**9, 5 * 13 * 5 + 1, 1):  # one slab, four of which the last is short, one per layer
        field, planes = triplane(first_activation=first_activation, slab_nodes=slab_nodes), random_planes(True)
        grid = field(planes)
        torch.autograd.backward((grid.gradient**2).sum() + (grid.features**2).sum())
        tensors = [planes.xy, planes.yz, planes.xz, *list(field.density_net.parameters())]
        found.append([grid.sdf.detach(), *(tensor.grad for tensor in tensors if tensor is not None)])
    for slabs in found[1:]:
        for part, whole in zip(slabs, found[0], strict=True):
            assert torch.allclose(part, whole, rtol=1e-4, atol=1e-4 * float(whole.abs().max()))


@pytest.mark.parametrize("with_features", [True, False])
def test_without_gradients_the_same_is_written_slab_by_slab(
    monkeypatch: pytest.MonkeyPatch, with_features: bool
) -> None:
    torch.manual_seed(2)
    planes = random_planes()
    for model in (triplane(), triplane(first_activation=False), PillarField(CHANNELS, SHAPE[2], 7, LOWER, UPPER)):
        expected = model(planes, with_features)
        monkeypatch.setattr(field_module, "CACHED_SLAB_NODES", 5 * 13 * 5 + 1)  # the last slab is short
        with torch.no_grad():
            found = model(planes, with_features)
        torch.testing.assert_close(found.sdf, expected.sdf, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(found.features, expected.features, atol=1e-6, rtol=1e-5)


def test_hidden_channels_are_never_kept_for_all_nodes() -> None:
    field = triplane(slab_nodes=1)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        grid = field(random_planes(True))
    assert sum(kept.values()) < grid.sdf.numel() * CHANNELS


def test_pillars_hold_heights_first_and_values_second() -> None:
    torch.manual_seed(2)
    field, planes = PillarField(CHANNELS, SHAPE[2], 7, LOWER, UPPER), random_planes()
    grid = field(planes)
    assert grid.sdf.shape == SHAPE
    values = field.density_net(planes.xy[3, 11])
    assert torch.allclose(grid.sdf[3, 11], values[::8], atol=1e-6)
    assert torch.allclose(grid.features[:, 3, 11, 2], values[2 * 8 + 1 : 3 * 8], atol=1e-6)
    assert torch.allclose(field(planes, with_features=False).sdf, grid.sdf, atol=1e-6)


def test_mixed_precision_leaves_the_field_alone() -> None:
    field, planes = triplane(), random_planes()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = field(planes)
    assert mixed.sdf.dtype == torch.float32
    assert torch.equal(mixed.sdf, field(planes).sdf)


def test_a_birds_eye_view_is_no_triplane() -> None:
    with pytest.raises(ValueError, match="bird's eye view alone"):
        triplane()(Planes(random_planes().xy))


def test_derivatives_of_a_quadratic_field() -> None:
    p = node_points()
    grid = grid_of(0.5 * p[..., 0] ** 2 + p[..., 0] * p[..., 1] - 2.0 * p[..., 2])
    expected = torch.stack([p[..., 0] + p[..., 1], p[..., 0], torch.full(SHAPE, -2.0)])
    inner = (..., slice(1, -1), slice(1, -1), slice(1, -1))
    assert torch.allclose(grid.gradient[inner], expected[inner], atol=1e-4)
    assert torch.allclose(grid.gradient[2, 4, 4, 0], torch.tensor(-1.0), atol=1e-5)  # half of it on the border


def test_interpolation_is_exact_for_linear_fields_and_clamped_outside() -> None:
    slope = torch.tensor([0.3, -0.7, 1.1])
    grid = grid_of(node_points() @ slope)
    lower, upper = box()
    points = lower + (upper - lower) * torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(grid.sdf_at(points), points @ slope, atol=1e-4)
    beyond = torch.tensor([[50.0, 1.0, 0.5]])
    assert torch.allclose(grid.sdf_at(beyond), torch.tensor([[8.0, 1.0, 0.5]]) @ slope, atol=1e-4)
    with pytest.raises(ValueError, match="distances alone"):
        grid.features_at(points)


def test_differences_agree_with_automatic_gradients() -> None:
    volume = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    spacing = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: central_differences(v, spacing), volume)


def test_lattice_counts_as_double_precision_does() -> None:
    assert lattice((-19.2, 0.0, -2.0), (19.2, 51.2, 4.4), 1.6).shape == (23, 32, 4, 3)
    points = lattice(LOWER, UPPER, 2.0)
    assert points[0, 0, 0].tolist() == list(LOWER)
    assert points[-1, -1, -1].tolist() == list(UPPER)
    moved = lattice(LOWER, UPPER, 2.0, torch.full_like(points, 0.25))
    assert torch.allclose(moved, points + 0.5)


def test_depth_of_a_plane_is_where_the_ray_meets_it() -> None:
    grid = grid_of(node_points()[..., 2] - 0.13)
    origins, directions, norms = rays_down(200)
    rendered = render_neus(grid, origins, directions, norms, torch.tensor(80.0), samples=256)
    truth = (0.13 - origins[:, 2]) / directions[:, 2] / norms
    hit = truth < rendered.exit_depth - 0.2
    assert hit.sum() > 100
    step = (rendered.sample_depths[:, 1] - rendered.sample_depths[:, 0])[hit]
    assert ((rendered.depth - truth)[hit].abs() < step + 0.01).all()
    assert ((rendered.opacity[hit] - 1.0).abs() < 0.02).all()
    assert torch.allclose(rendered.normal[hit], torch.tensor([0.0, 0.0, 1.0]), atol=1e-3)


def test_colour_and_classes_are_those_of_the_surface() -> None:
    p = node_points()
    logits = torch.stack([p[..., 0], -p[..., 0]]) * 10.0  # class 0 ahead, class 1 behind
    grid = grid_of(p[..., 2], torch.cat([torch.stack([p[..., 0]] * 3), logits]))
    origins, directions, norms = rays_down(100)
    options = {"sharpness": torch.tensor(50.0), "samples": 256}
    rendered = render_neus(grid, origins, directions, norms, background=torch.ones(100, 3), **options)
    hit = origins[:, 0] + directions[:, 0] * (origins[:, 2] / -directions[:, 2])
    clear = (hit.abs() > 0.5) & (hit.abs() < 4.0)
    assert rendered.colour is not None
    assert rendered.classes is not None
    colour = (0.5 + hit / (2.0 * math.sqrt(math.pi))).clamp(min=0.0)
    assert (rendered.colour[:, 0] - colour)[clear].abs().max() < 0.05
    assert torch.equal(rendered.classes.argmax(dim=-1)[clear] == 0, (hit > 0)[clear])
    assert torch.allclose(rendered.classes.sum(dim=-1), rendered.opacity, atol=1e-5)
    bare = render_neus(grid, origins, directions, norms, with_features=False, **options)
    assert bare.colour is None
    assert torch.equal(bare.weights, rendered.weights)


def test_a_ray_that_misses_the_box_crosses_nothing() -> None:
    origins = torch.tensor([[20.0, 0.0, 0.0], [-20.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    directions = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [1.0, 0.0, 0.0]])
    near, far = box_interval(origins, directions, *box())
    assert (far - near)[:2].max() < 1e-5
    assert float(far[2] - near[2]) == pytest.approx(8.0, abs=1e-3)
    grid = grid_of(torch.full(SHAPE, 2.0), torch.ones(3, *SHAPE))
    background = torch.tensor([0.2, 0.4, 0.6]).expand(3, 3)
    norms = torch.ones(3)
    rendered = render_neus(grid, origins, directions, norms, torch.tensor(20.0), 16, background=background)
    for value in (rendered.depth, rendered.normal, rendered.weights):
        assert torch.isfinite(value).all()
    assert rendered.colour is not None
    assert torch.allclose(rendered.colour, background, atol=0.01)


def test_annealing_ends() -> None:
    assert [anneal_ratio(step) for step in (0, 2500, 5000, 9000)] == [0.0, 0.5, 1.0, 1.0]
    assert anneal_ratio(0, end=0) == 1.0
    sdf, lengths, sharp = torch.zeros(1, 3), torch.full((1, 3), 0.5), torch.tensor(4.0)
    slope = torch.tensor([[-1.0, 0.0, 1.0]])  # into the surface, along it, out of it
    late = neus_alpha(sdf, slope, lengths, sharp, anneal=1.0)[0]
    early = neus_alpha(sdf, slope, lengths, sharp, anneal=0.0)[0]
    assert (late[1:] < 1e-4).all()
    assert early[1] > 0.3
    assert early[2] < 1e-4
    assert torch.allclose(early[0], late[0])
    middle = neus_alpha(sdf, slope, lengths, sharp, anneal=0.5)[0]
    assert late[1] < middle[1] < early[1]


def test_one_jitter_moves_all_edges_of_a_ray_between_the_middles_of_its_bins() -> None:
    near, far = torch.zeros(2, 1), torch.full((2, 1), 4.0)
    assert bin_edges(near, far, 4)[0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    ends = bin_edges(near, far, 4, torch.tensor([[0.0], [1.0]]))
    assert ends[0].tolist() == [0.0, 0.5, 1.5, 2.5, 3.5]
    assert ends[1].tolist() == [0.5, 1.5, 2.5, 3.5, 4.0]


def test_pixels_and_rays_of_a_camera() -> None:
    assert pixel_grid((60, 80), 2, 4)[[0, 1, 4]].tolist() == [[0.0, 0.0], [20.0, 0.0], [0.0, 30.0]]
    dense = pixel_grid((60, 80), 2, 4, torch.tensor([0.0, 1.0, 1.0, 0.5]))  # stride 1 and all the way right in x
    assert dense[[0, 3, 4]].tolist() == [[76.0, 0.0], [79.0, 0.0], [76.0, 30.0]]
    base_from_optical = torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    pixel = torch.linalg.inv(torch.tensor([[100.0, 0.0, 40.0], [0.0, 100.0, 30.0], [0.0, 0.0, 1.0]]))
    matrix = torch.eye(4)
    matrix[:3, :3], matrix[:3, 3] = base_from_optical @ pixel, torch.tensor([1.0, 2.0, 3.0])
    rays = pixel_rays(matrix[None], torch.tensor([[40.0, 30.0], [140.0, 30.0]]))
    assert torch.allclose(rays.directions, torch.tensor([[1.0, 0.0, 0.0], [0.5**0.5, -(0.5**0.5), 0.0]]), atol=1e-6)
    assert torch.allclose(rays.norms, torch.tensor([1.0, 2**0.5]), atol=1e-6)
    assert torch.equal(rays.origins, torch.tensor([[1.0, 2.0, 3.0]] * 2))


def test_a_surface_is_pulled_towards_a_nearer_target() -> None:
    level = torch.tensor(0.0, requires_grad=True)
    grid = grid_of(node_points()[..., 2] - level)
    rendered = render_neus(grid, *rays_down(60), torch.tensor(10.0), samples=64, anneal=0.5)
    torch.autograd.backward(rendered.depth.mean())
    assert level.grad is not None
    assert level.grad < 0  # a higher floor is nearer to a camera above it


def test_official_parameters_load_by_their_names() -> None:
    names = {"aabb", "deviation_network.variance"}
    names |= {f"density_net.{i}.{kind}" for i in (1, 3) for kind in ("weight", "bias")}
    for field in (triplane(), PillarField(CHANNELS, 5, 3, LOWER, UPPER), triplane(first_activation=False)):
        assert set(field.state_dict()) == names
        assert float(field.sharpness.detach()) == pytest.approx(math.e)
