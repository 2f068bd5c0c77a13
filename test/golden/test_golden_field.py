# SPDX-License-Identifier: Apache-2.0
"""The dense field and its rendering against recordings of the official SelfOcc, forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from selfocc_ros.model.planes.field import PillarField, Planes, TriplaneField
from selfocc_ros.model.planes.field_grid import FieldGrid, lattice
from selfocc_ros.model.planes.neus import NeusRendered, anneal_ratio, render_neus, sample_colour
from selfocc_ros.model.planes.rays import bin_edges, box_interval, pixel_grid, pixel_rays
from selfocc_training.losses.field_terms import eikonal_loss, field_hessian

NAMES = ["sdf_field_tpv_nus6", "sdf_field_tpv_kitti1", "sdf_field_bev_nus6"]
Close = Callable[..., None]


@dataclass
class Case:
    """A recording, the field with its weights, and the grid of its planes."""

    recorded: Any
    field: TriplaneField | PillarField
    tokens: dict[str, Tensor]
    shape: tuple[int, int, int]

    def grid(self) -> FieldGrid:
        return self.field(Planes.from_tokens(self.shape, **self.tokens))

    def render(self, grid: FieldGrid, mode: str, **options: Any) -> NeusRendered:
        """Render the recorded rays (eval, train or custom) under the recorded random numbers."""
        r = self.recorded
        return render_neus(
            grid,
            r[f"{mode}.origin"],
            r[f"{mode}.direction"],
            r[f"{mode}.direction_norm"],
            self.field.sharpness,
            r.config["num_samples"],
            anneal=float(r["train.cos_anneal"]) if mode == "train" else 1.0,
            jitter=r["train.jitter01"][:, None] if mode == "train" else None,
            background=r[f"{mode}.bg_rgb"],
            **options,
        )


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, golden: Callable[[str], Any]) -> Case:
    recorded = golden(request.param)
    config = recorded.config
    height, width, depth = config["plane_size_hwz"]
    lower, upper = config["box"][:3], config["box"][3:]
    field: TriplaneField | PillarField
    if config["tpv"]:
        # Slabs of four layers: what is checked is the path that large grids take.
        field = TriplaneField(config["dim"], config["color_dims"], lower, upper, slab_nodes=4 * height * depth)
    else:
        field = PillarField(config["dim"], depth, config["color_dims"], lower, upper)
    field.load_state_dict(recorded.under("param.head.model.field."))
    return Case(recorded, field, recorded.under("in.plane."), (width, height, depth))


def ours(official: Tensor) -> Tensor:
    """Official (..., y, x, z) to (..., x, y, z)."""
    return official.transpose(-3, -2)


def solid(recorded: Any, mode: str) -> Tensor:
    return (recorded[f"{mode}.acc"] > 0.05).reshape(-1)


def test_grid_and_its_derivatives(case: Case, close: Close) -> None:
    r = case.recorded
    with torch.no_grad():
        grid = case.grid()
        assert grid.features is not None
        values = torch.cat([grid.sdf[None], grid.features])
        close(values, ours(r["grid.density_color"]), atol=1e-5, rtol=0.0, what="grid")
        close(grid.gradient, ours(r["grid.grad"]), atol=1e-5, rtol=0.0, what="gradient")
        second = field_hessian(grid.sdf, grid.spacing, r.config["compact_second_grad"])
        close(second, ours(r["grid.grad2"]), what="second derivatives")


def eikonal(grid: FieldGrid, found: NeusRendered) -> torch.Tensor:
    """At samples and nodes alike."""
    return eikonal_loss(torch.cat([found.gradients.reshape(-1, 3), grid.gradient.flatten(1).T]))


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_rays_and_bins(case: Case, close: Close, mode: str) -> None:
    r = case.recorded
    rows, columns = r.config["num_rays_hw"]
    uniform = r["train.np_uniform4"] if mode == "train" else None
    pixels = pixel_grid(tuple(r.config["img_size_hw"]), rows, columns, uniform)
    close(pixels, r[f"{mode}.rays_uv"], what="pixels")
    rays = pixel_rays(r["in.img2ego"], r[f"{mode}.rays_uv"])
    close(rays.origins, r[f"{mode}.origin"], what="origins")
    close(rays.directions, r[f"{mode}.direction"], what="directions")
    close(rays.norms, r[f"{mode}.direction_norm"], what="norms")
    near, far = box_interval(rays.origins, rays.directions, case.field.aabb[0], case.field.aabb[1])
    jitter = r["train.jitter01"][:, None] if mode == "train" else None
    edges = bin_edges(near, far, r.config["num_samples"], jitter)
    close(edges, r[f"{mode}.t_edges"], atol=2e-4, rtol=0.0, what="edges")
    unit = torch.zeros_like(near), torch.ones_like(near)
    bins = bin_edges(*unit, r.config["num_samples"], jitter)
    close(bins[0], r[f"{mode}.bins01_first_ray"], atol=1e-6, rtol=0.0, what="bins")


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_rendering(case: Case, close: Close, mode: str) -> None:
    r = case.recorded
    cameras = len(r["in.img2ego"])
    with torch.no_grad():
        grid = case.grid()
        found = case.render(grid, mode)
        points = r[f"{mode}.origin"][:, None] + r[f"{mode}.direction"][:, None] * found.edges[:, :-1, None]
        close(found.edges, r[f"{mode}.t_edges"], atol=2e-4, rtol=0.0, what="edges")
        close(found.sdf, r[f"{mode}.sdf"], what="sdf")
        close(found.gradients, r[f"{mode}.grad_samples"], what="gradients")
        close(found.alphas, r[f"{mode}.alpha"], what="alphas")
        close(found.weights, r[f"{mode}.weights"], what="weights")
        close(found.transmittance, r[f"{mode}.bg_transmittance"], what="transmittance")
        close(found.opacity, r[f"{mode}.acc"].reshape(-1), what="opacity")
        close(found.exit_depth, r[f"{mode}.fars_z"].reshape(-1), atol=2e-4, what="exit depth")
        first = found.sample_depths.reshape(cameras, -1, found.sample_depths.shape[-1])[:, :4]
        close(first, r[f"{mode}.ts_z"], atol=2e-4, what="sample depths")

        seen = solid(r, mode)
        depth, expected = found.depth, r[f"{mode}.depth_z"].reshape(-1)
        close(depth[seen], expected[seen], atol=1e-3, rtol=1e-4, what="depth")
        if not seen.all():
            close(depth[~seen], expected[~seen], atol=0.0, rtol=1e-3, what="depth of what is nearly clear")
        close(found.normal[seen], r[f"{mode}.normal"][seen], what="normal")

        assert found.colour is not None
        colour = found.colour.clamp(0.0, 1.0) if mode == "eval" else found.colour  # as officially in evaluation
        close(colour, r[f"{mode}.rgb"].reshape(-1, 3), what="colour")
        if mode == "eval":
            close(sample_colour(grid.features_at(points)[..., :3]), r["eval.rgb_samples"], what="sample colour")
        if r.config["sem"]:
            assert found.classes is not None
            close(found.classes, r[f"{mode}.sem"].flatten(0, 1), what="classes")
        else:
            assert found.classes is None
        close(eikonal(grid, found), r[f"{mode}.eikonal"], what="eikonal")
        second = field_hessian(grid.sdf, grid.spacing, r.config["compact_second_grad"]).abs().mean()
        close(second, r[f"{mode}.second_grad_abs_mean"], what="second derivatives")


def test_hand_made_rays(case: Case, close: Close) -> None:
    r = case.recorded
    with torch.no_grad():
        found = case.render(case.grid(), "custom")
    close(found.edges, r["custom.t_edges"], atol=2e-3, rtol=0.0, what="edges")
    close(found.sdf, r["custom.sdf"], what="sdf")
    close(found.gradients, r["custom.grad_samples"], what="gradients")
    close(found.alphas, r["custom.alpha"], what="alphas")
    close(found.weights, r["custom.weights"], what="weights")
    close(found.opacity, r["custom.acc"], what="opacity")
    assert found.colour is not None
    close(found.colour.clamp(0.0, 1.0), r["custom.rgb"], what="colour")
    seen = solid(r, "custom")
    close(found.depth[seen], r["custom.depth_z"][seen], atol=1e-3, what="depth")


def test_regular_samples(case: Case, close: Close) -> None:
    """Jittered ones of the sparsity loss and those of the occupancy query."""
    r = case.recorded
    lower, upper, resolution = r.config["box"][:3], r.config["box"][3:], r.config["occ_resolution"]
    with torch.no_grad():
        grid = case.grid()
        points = lattice(lower, upper, resolution)
        close(points.reshape(-1, 3)[[0, -1]], r["occ.xyz_first_last"], what="lattice")
        close(grid.sdf_at(points), ours(r["occ.sdf"]), what="sdf")
        if r.config["sem"]:
            logits = grid.features_at(points)[..., 3:]
            close(logits, r["occ.logits"].transpose(0, 1), what="logits")
            assert torch.equal(logits.argmax(dim=-1), ours(r["occ.sem_argmax"]).long())
        if not r.config["uniform_sdf"]:
            return
        x, y, z = points.shape[:3]
        for mode in ("eval", "train"):
            jitter = r[f"{mode}.uniform_jitter01"].reshape(y, x, z, 3).transpose(0, 1)
            found = grid.sdf_at(lattice(lower, upper, resolution, jitter))
            close(found, ours(r[f"{mode}.uniform_sdf"]), what=f"jittered sdf, {mode}")


def test_gradients_of_everything_that_is_learnt(case: Case, close: Close) -> None:
    r = case.recorded
    for tokens in case.tokens.values():
        tokens.requires_grad_()
    grid = case.grid()
    found = case.render(grid, "train")
    assert found.colour is not None
    loss = 0.01 * (r["probe.coef_depth"].reshape(-1) * found.depth).sum()
    loss = loss + (r["probe.coef_weights"] * found.weights).sum()
    loss = loss + (r["probe.coef_rgb"].reshape(-1, 3) * found.colour).sum()
    if r.config["sem"]:
        loss = loss + (r["probe.coef_sem"].flatten(0, 1) * found.classes).sum()
    second = field_hessian(grid.sdf, grid.spacing, r.config["compact_second_grad"]).abs().mean()
    loss = loss + 10.0 * eikonal(grid, found) + second
    close(loss.detach(), r["probe.loss"], what="loss")
    torch.autograd.backward(loss)
    pairs = {f"plane.{name}": (tokens.grad, r[f"probe.dplane.{name}"]) for name, tokens in case.tokens.items()}
    for name, parameter in case.field.named_parameters():
        pairs[name] = parameter.grad, r[f"probe.dparam.head.model.field.{name}"]
    for name, (gradient, expected) in pairs.items():
        close(gradient, expected, atol=1e-5 * float(expected.abs().max()), rtol=0.0, what=name)


def test_annealing_of_the_recorded_steps(case: Case) -> None:
    assert anneal_ratio(int(case.recorded["train.global_iter"])) == pytest.approx(
        float(case.recorded["train.cos_anneal"])
    )
