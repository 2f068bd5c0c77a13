# SPDX-License-Identifier: Apache-2.0
"""Every loss of SelfOcc on seeded numbers, with the gradient of what it teaches."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from seeded import normal, picture, uniform
from torch import Tensor

from selfocc_ros.model.planes.rays import pixel_grid
from selfocc_training.losses.colour import colour_loss
from selfocc_training.losses.field_terms import eikonal_loss, hessian_loss
from selfocc_training.losses.mvs import mvs_loss
from selfocc_training.losses.ray_grid import RayGrid
from selfocc_training.losses.semantic import semantic_binary_cross_entropy, semantic_cross_entropy
from selfocc_training.losses.smoothness import edge_loss
from selfocc_training.losses.sparsity import adaptive_sparsity, hard_sparsity, soft_sparsity, streetsurf_sparsity

Outputs = dict[str, Tensor]

VIEWS, HEIGHT, WIDTH, ROWS, COLUMNS, SAMPLES, CLASSES = 2, 24, 40, 5, 6, 8, 4
RAYS = ROWS * COLUMNS


def grid() -> RayGrid:
    """Rays of random stride and offset."""
    return RayGrid(pixel_grid((HEIGHT, WIDTH), ROWS, COLUMNS, uniform("stride", 4)), ROWS, COLUMNS)


def images() -> Tensor:
    """(2, 3, 24, 40) uint8."""
    return picture("images", VIEWS, 3, HEIGHT, WIDTH)


def sources() -> Tensor:
    """(2, 2, 3, 24, 40) uint8, before and after; the last camera stands, but for noise, so that its mask must win."""
    found = picture("sources", VIEWS, 2, 3, HEIGHT, WIDTH)
    still = images()[1].int() + (uniform("noise", 3, HEIGHT, WIDTH) * 3).int() - 1
    found[1, 1] = still.clamp(0, 255).byte()
    return found


def motions() -> Tensor:
    """(2, 2, 4, 4) half a metre back and ahead, with a slight turn; the second camera turns so far that rays leave."""
    intrinsics = torch.eye(4)
    intrinsics[:2, :3] = torch.tensor([[30.0, 0.0, 20.3], [0.0, 31.0, 11.8]])
    poses = torch.eye(4).repeat(VIEWS, 2, 1, 1)
    turns = torch.tensor([[0.03, -0.04], [0.4, -0.02]])
    poses[..., 0, 0] = poses[..., 2, 2] = turns.cos()
    poses[..., 0, 2], poses[..., 2, 0] = turns.sin(), -turns.sin()
    poses[..., :3, 3] = torch.tensor([[0.05, 0.0, 0.5], [0.02, 0.01, -0.5]])
    return intrinsics @ poses @ torch.linalg.inv(intrinsics)


def depths() -> Tensor:
    """(2, 30, 8) metres, growing along each ray."""
    return 1.0 + (1.2 * uniform("depths", VIEWS, RAYS, SAMPLES) + 0.1).cumsum(dim=-1)


def weights() -> Tensor:
    """(2, 30, 8) rendering weights, which add up to less than one."""
    return (normal("weights", VIEWS, RAYS, SAMPLES).softmax(dim=-1) * 0.9).requires_grad_()


def with_gradient(loss: Tensor, variable: Tensor) -> Outputs:
    """The loss, and its gradient."""
    return {"loss": loss, "d.variable": torch.autograd.grad(loss, variable)[0]}


def mvs(variant: str, *, auto_mask: bool = True, ssim: bool = True) -> Outputs:
    """The MVS-embedded loss and the errors that it chooses from."""
    taught = weights()
    found = mvs_loss(
        images(), sources(), motions(), grid(), depths(), taught,
        variant="combined" if variant == "combined" else "separate", auto_mask=auto_mask, ssim=ssim,
    )  # fmt: skip
    return {**with_gradient(found.loss, taught), "candidates": found.candidates}


def colour(ssim: bool) -> Outputs:
    rendered = uniform("rendered", VIEWS, RAYS, 3).requires_grad_()
    return with_gradient(colour_loss(rendered, images(), grid(), ssim=ssim), rendered)


def edge() -> Outputs:
    rendered = (2 + 5 * uniform("depth", VIEWS, RAYS)).requires_grad_()
    return with_gradient(edge_loss(rendered, images(), grid()), rendered)


def semantic(loss: Callable[..., Tensor]) -> Outputs:
    probabilities = (normal("classes", VIEWS, RAYS, CLASSES).softmax(dim=-1) * 0.95).requires_grad_()
    labels = (uniform("labels", VIEWS, HEIGHT, WIDTH) * CLASSES).byte()
    return with_gradient(loss(probabilities, labels, grid()), probabilities)


def distances() -> Tensor:
    """(7, 6, 5) signed distances, metres."""
    return normal("distances", 7, 6, 5).requires_grad_()


def of_field(loss: Callable[[Tensor], Tensor]) -> Outputs:
    nodes = distances()
    return with_gradient(loss(nodes), nodes)


def eikonal() -> Outputs:
    gradients = normal("gradients", 40, 3).requires_grad_()
    return with_gradient(eikonal_loss(gradients), gradients)


def adaptive() -> Outputs:
    sampled = normal("sampled", VIEWS, RAYS, SAMPLES).requires_grad_()
    return with_gradient(adaptive_sparsity(sampled, depths(), depths()[..., 2], slack=1.5), sampled)


def spacing() -> Tensor:
    return torch.tensor([0.5, 0.4, 0.25])


LOSSES: dict[str, Callable[[], Outputs]] = {
    **{f"mvs_{variant}": functools.partial(mvs, variant) for variant in ("combined", "separate")},
    **{
        f"mvs_{variant}_{name}": functools.partial(mvs, variant, **options)
        for variant in ("combined", "separate")
        for name, options in (("without_auto_mask", {"auto_mask": False}), ("without_ssim", {"ssim": False}))
    },
    "colour": functools.partial(colour, ssim=True),
    "colour_without_ssim": functools.partial(colour, ssim=False),
    "edge": edge,
    "eikonal": eikonal,
    "hessian_wide": functools.partial(of_field, lambda nodes: hessian_loss(nodes, spacing(), "wide")),
    "hessian_compact": functools.partial(of_field, lambda nodes: hessian_loss(nodes, spacing(), "compact")),
    "sparsity_soft": functools.partial(of_field, soft_sparsity),
    "sparsity_streetsurf": functools.partial(of_field, streetsurf_sparsity),
    "sparsity_hard": functools.partial(of_field, lambda nodes: hard_sparsity(nodes, ((1, 1), (1, 0), (0, 1)))),
    "sparsity_adaptive": adaptive,
    "semantic_cross_entropy": functools.partial(semantic, semantic_cross_entropy),
    "semantic_binary_cross_entropy": functools.partial(semantic, semantic_binary_cross_entropy),
}
"""By name: computes value and gradient."""
