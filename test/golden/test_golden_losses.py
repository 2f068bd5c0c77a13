# SPDX-License-Identifier: Apache-2.0
"""Every loss, value and gradient, against recordings of the official SelfOcc (../shared/golden, section 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from selfocc_ros.model.planes.field_grid import central_differences
from selfocc_training.losses.colour import colour_loss
from selfocc_training.losses.field_terms import Stencil, eikonal_loss, field_hessian, hessian_loss
from selfocc_training.losses.mvs import MvsLoss, mvs_loss
from selfocc_training.losses.ray_grid import RayGrid
from selfocc_training.losses.semantic import semantic_binary_cross_entropy, semantic_cross_entropy
from selfocc_training.losses.similarity import dissimilarity
from selfocc_training.losses.smoothness import edge_loss
from selfocc_training.losses.sparsity import adaptive_sparsity, hard_sparsity, soft_sparsity, streetsurf_sparsity

Close = Callable[..., None]
Golden = Any  # of conftest.py, which tests cannot import

VALUE = {"atol": 1e-6, "rtol": 2.4e-7}  # two float32 roundings: one recorded loss is above 100
CANDIDATE = {"atol": 1e-5, "rtol": 0.0}
GRADIENT = {"atol": 1e-7, "rtol": 1e-3}


@pytest.fixture(scope="module")
def recorded(golden: Callable[[str], Golden]) -> Golden:
    return golden("losses")


@pytest.fixture(scope="module")
def grid(recorded: Golden) -> RayGrid:
    return RayGrid(recorded["in.rays_uv"], *recorded.config["ray_grid_hw"])


def check(close: Close, recorded: Golden, name: str, loss: Tensor, variable: Tensor | None, gradient: str = "") -> None:
    close(loss.detach(), recorded[f"{name}.loss"], **VALUE, what=f"{name}.loss")
    if variable is not None:
        (found,) = torch.autograd.grad(loss, variable)
        close(found, recorded[f"{name}.{gradient}"], **GRADIENT, what=f"{name}.{gradient}")


def mvs(recorded: Golden, grid: RayGrid, weights: Tensor, name: str) -> MvsLoss:
    return mvs_loss(
        recorded["in.curr_imgs_u8"],
        torch.stack([recorded["in.prev_imgs_u8"], recorded["in.next_imgs_u8"]], dim=1),
        torch.stack([recorded["in.img2prevImg"], recorded["in.img2nextImg"]], dim=1),
        grid,
        recorded["in.ts_z"],
        weights,
        variant="combined" if "combine" in name else "separate",
        auto_mask="noautomask" not in name,
        ssim="nossim" not in name,
    )


@pytest.mark.parametrize(
    "name", [f"mvs.{variant}{option}" for variant in ("combine", "new") for option in ("", "_noautomask", "_nossim")]
)
def test_mvs(recorded: Golden, grid: RayGrid, close: Close, name: str) -> None:
    weights = recorded["in.weights"].clone().requires_grad_()
    found = mvs(recorded, grid, weights, name)
    check(close, recorded, name, found.loss, None)
    if f"{name}.candidates" in recorded.tensors:
        close(found.candidates, recorded[f"{name}.candidates"], **CANDIDATE, what=f"{name}.candidates")
    (gradient,) = torch.autograd.grad(found.loss, weights)
    expected = recorded[f"{name}.dweights"].clone()
    # All weights of this ray are zero: its gradient is divided by the float32 epsilon, and is mostly rounding.
    assert recorded["in.weights"][0, 5].abs().max() == 0
    gradient[0, 5] = expected[0, 5] = 0
    close(gradient, expected, **GRADIENT, what=f"{name}.dweights")


def test_auto_mask_wins_where_nothing_moved(recorded: Golden, grid: RayGrid) -> None:
    found = mvs(recorded, grid, recorded["in.weights"], "mvs.combine")
    assert (found.candidates[2].argmin(dim=-1) == 2).float().mean() > 0.9


def test_ssim_map(recorded: Golden, close: Close) -> None:
    x, y, expected = recorded["ssim.x"], recorded["ssim.y"], recorded["ssim.map"]
    grid = RayGrid(torch.zeros(96, 2), 8, 12)
    for channel in range(3):
        a, b = (images[:, channel].reshape(2, 96, 1).expand(-1, -1, 3) for images in (x, y))
        close(dissimilarity(a, b, grid).reshape(2, 8, 12), expected[:, channel], **CANDIDATE, what="ssim.map")


@pytest.mark.parametrize("name", ["rgb", "rgb_nossim"])
def test_rgb(recorded: Golden, grid: RayGrid, close: Close, name: str) -> None:
    colours = recorded["rgb.colors"].clone().requires_grad_()
    loss = colour_loss(colours, recorded["in.curr_imgs_u8"], grid, ssim=name == "rgb")
    check(close, recorded, name, loss, colours, "dcolors")


def test_edge(recorded: Golden, grid: RayGrid, close: Close) -> None:
    depths = recorded["edge.depth_z"].clone().requires_grad_()
    check(close, recorded, "edge", edge_loss(depths, recorded["in.curr_imgs_u8"], grid), depths, "ddepth")


def test_eikonal(recorded: Golden, close: Close) -> None:
    gradients = recorded["eik.grad"].clone().requires_grad_()
    check(close, recorded, "eik", eikonal_loss(gradients), gradients, "dgrad")


@pytest.mark.parametrize(("name", "stencil"), [("central", "wide"), ("compact", "compact")])
def test_hessian(recorded: Golden, close: Close, name: str, stencil: Stencil) -> None:
    recorded_nodes = recorded["hess.sdf_hwd"].clone().requires_grad_()
    nodes = recorded_nodes.transpose(0, 1)  # rows are y, columns are x
    low, high = recorded["hess.box"]
    spacing = (high - low) / (torch.tensor(nodes.shape) - 1)
    gradient = central_differences(nodes, spacing).transpose(1, 2)
    close(gradient.detach(), recorded["hess.grad_xyz"], atol=1e-6, rtol=1e-5, what="hess.grad_xyz")
    hessian = field_hessian(nodes, spacing, stencil == "compact").transpose(2, 3)
    close(hessian.detach(), recorded[f"hess.{name}.hessian"], atol=1e-6, rtol=1e-5, what=f"hess.{name}.hessian")
    loss = hessian_loss(nodes, spacing, stencil)
    check(close, recorded, f"hess.{name}", loss, recorded_nodes, "dsdf")


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("spars.soft", soft_sparsity),
        ("spars.streetsurf_scale0.1", streetsurf_sparsity),
        ("spars.hard_scale10_thr0.2_crop1", lambda sdf: hard_sparsity(sdf, ((1, 1), (1, 0), (0, 1)))),
    ],
)
def test_sparsity(recorded: Golden, close: Close, name: str, function: Callable[[Tensor], Tensor]) -> None:
    distances = recorded["spars.sdf"].clone().requires_grad_()
    check(close, recorded, name, function(distances), distances, "dsdf")


def test_adaptive_sparsity(recorded: Golden, close: Close) -> None:
    rendered = recorded["spars.adaptive.depth_z"]
    loss = adaptive_sparsity(recorded["spars.adaptive.sdf"], recorded["in.ts_z"], rendered, slack=4.0)
    check(close, recorded, "spars.adaptive_slack4", loss, None)


@pytest.mark.parametrize(
    ("name", "function"), [("sem_ce", semantic_cross_entropy), ("sem_bce", semantic_binary_cross_entropy)]
)
def test_semantic(recorded: Golden, grid: RayGrid, close: Close, name: str, function: Callable[..., Tensor]) -> None:
    probabilities = recorded["sem.probs"].clone().requires_grad_()
    loss = function(probabilities, recorded["sem.labels_u8"], grid)
    check(close, recorded, name, loss, probabilities, "dsem")
