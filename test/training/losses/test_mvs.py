# SPDX-License-Identifier: Apache-2.0
"""MVS-embedded loss on a textured wall whose distance is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from selfocc_training.losses.lookup import PixelConvention
from selfocc_training.losses.mvs import MvsLoss, mvs_loss
from selfocc_training.losses.ray_grid import RayGrid, ray_grid

WIDTH, HEIGHT, FOCAL = 64, 48, 60.0
DEPTHS = torch.tensor([2.0, 4.0, 6.0, 9.0, 15.0])
TRUE = 2
VARIANTS = ("combined", "separate")
CONVENTIONS: tuple[PixelConvention, ...] = ("selfocc", "centres")


def picture(offset: float, convention: PixelConvention) -> Tensor:
    """What a camera at x = ``offset`` sees of the wall: (3, H, W)."""
    v, u = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")
    if convention == "selfocc":
        u, v = u * WIDTH / (WIDTH - 1), v * HEIGHT / (HEIGHT - 1)
    x, y = (u - 31.5) / FOCAL * DEPTHS[TRUE] + offset, (v - 23.5) / FOCAL * DEPTHS[TRUE]
    waves = [torch.sin(a * x + b * y + c) for a, b, c in ((2.1, 1.3, 0.0), (-1.7, 2.9, 1.0), (0.9, -2.3, 2.0))]
    return torch.stack(waves) * 0.25 + 0.5


@dataclass(frozen=True)
class Wall:
    """One view of the wall with two sources, 0.6 m to either side."""

    images: Tensor
    source_images: Tensor
    source_pixel_from_pixel: Tensor
    grid: RayGrid
    depths: Tensor
    convention: PixelConvention

    def loss(self, weights: Tensor, **options: Any) -> MvsLoss:
        return mvs_loss(
            self.images,
            self.source_images,
            self.source_pixel_from_pixel,
            self.grid,
            self.depths,
            weights,
            convention=self.convention,
            **options,
        )

    def loss_at(self, index: int, **options: Any) -> float:
        weights = torch.zeros_like(self.depths)
        weights[..., index] = 1.0
        return self.loss(weights, **options).loss.item()

    def with_gradient(self, **options: Any) -> tuple[MvsLoss, Tensor]:
        logits = torch.linspace(0.0, 1.0, self.depths.numel()).reshape(self.depths.shape).requires_grad_()
        found = self.loss(torch.softmax(logits, dim=-1), **options)
        return found, torch.autograd.grad(found.loss, logits)[0]


def wall(convention: PixelConvention = "centres", offsets: tuple[float, ...] = (-0.6, 0.6)) -> Wall:
    grid = ray_grid((HEIGHT, WIDTH), 9, 12, torch.tensor([0.6, 0.6, 0.4, 0.5]))
    camera = torch.eye(4)
    camera[0, 0] = camera[1, 1] = FOCAL
    camera[0, 2], camera[1, 2] = 31.5, 23.5
    matrices = []
    for offset in offsets:
        motion = torch.eye(4)
        motion[0, 3] = -offset
        matrices.append(camera @ motion @ camera.inverse())
    return Wall(
        picture(0.0, convention)[None],
        torch.stack([picture(offset, convention) for offset in offsets])[None],
        torch.stack(matrices)[None],
        grid,
        DEPTHS.expand(1, grid.pixels.shape[0], -1),
        convention,
    )


def masks() -> dict[str, Tensor]:
    """A bonnet in all images, and something that moves: elsewhere in each."""
    use = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    use[:, 40:] = False
    source_use = use[:, None].repeat(1, 2, 1, 1)
    use[:, 10:20, 20:33] = False
    source_use[:, 0, 12:22, 15:29] = False
    source_use[:, 1, 9:21, 24:40] = False
    return {"use": use, "source_use": source_use}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_loss_is_least_at_the_true_depth(variant: str, convention: PixelConvention) -> None:
    scene = wall(convention)
    losses = [scene.loss_at(i, variant=variant, auto_mask=False) for i in range(1, len(DEPTHS))]
    assert losses[TRUE - 1] < 0.01
    assert min(losses[:1] + losses[2:]) > 5 * losses[1]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradient_moves_weight_to_the_true_depth(variant: str, masked: bool) -> None:
    found, gradient = wall().with_gradient(variant=variant, auto_mask=False, **(masks() if masked else {}))
    assert gradient[found.counts].mean(dim=0).argmin() == TRUE
    assert (gradient[~found.counts] == 0).all()


def test_a_wrong_convention_is_worse() -> None:
    assert replace(wall("selfocc"), convention="centres").loss_at(TRUE) > 1.5 * wall("selfocc").loss_at(TRUE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_auto_mask_leaves_out_what_does_not_move(variant: str) -> None:
    scene = wall()
    still = replace(scene, source_images=scene.images[:, None].expand(-1, 2, -1, -1, -1))
    found, gradient = still.with_gradient(variant=variant)
    assert found.loss < 1e-6
    assert (gradient == 0).all()
    assert still.with_gradient(variant=variant, auto_mask=False)[0].loss > 0.01


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("auto_mask", [False, True])
@pytest.mark.parametrize("ssim", [False, True])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_masked_pixels_do_not_matter(variant: str, auto_mask: bool, ssim: bool, convention: PixelConvention) -> None:
    scene, allowed = wall(convention), masks()
    spoiled = replace(
        scene,
        images=torch.where(allowed["use"][:, None], scene.images, torch.nan),
        source_images=torch.where(allowed["source_use"][:, :, None], scene.source_images, torch.nan),
    )
    options: dict[str, Any] = {"variant": variant, "auto_mask": auto_mask, "ssim": ssim, **allowed}
    (first, gradient), (second, spoiled_gradient) = scene.with_gradient(**options), spoiled.with_gradient(**options)
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(gradient, spoiled_gradient)
    assert gradient.abs().max() > 0
    assert 0 < first.counts.sum() < first.counts.numel()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("auto_mask", [False, True])
def test_masks_that_allow_everything_change_nothing(variant: str, auto_mask: bool) -> None:
    everything = {name: torch.ones_like(mask) for name, mask in masks().items()}
    found, gradient = wall().with_gradient(variant=variant, auto_mask=auto_mask)
    same, same_gradient = wall().with_gradient(variant=variant, auto_mask=auto_mask, **everything)
    assert torch.allclose(found.loss, same.loss, rtol=1e-6)
    assert torch.allclose(gradient, same_gradient, atol=1e-7)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("auto_mask", [False, True])
@pytest.mark.parametrize("name", ["use", "source_use"])
def test_nothing_left_to_compare_is_no_loss(variant: str, auto_mask: bool, name: str) -> None:
    nothing = {name: torch.zeros_like(masks()[name])}
    found, gradient = wall().with_gradient(variant=variant, auto_mask=auto_mask, **nothing)
    assert found.loss == 0
    assert (gradient == 0).all()
    assert not found.counts.any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_weight_of_proposals_that_no_source_sees_does_not_matter(variant: str) -> None:
    scene = wall()
    behind = replace(scene, depths=torch.cat([scene.depths, -scene.depths[..., :1]], dim=-1))
    weights = torch.rand(scene.depths.shape, generator=torch.Generator().manual_seed(0))
    more = torch.cat([weights, torch.ones_like(weights[..., :1])], dim=-1)
    assert torch.allclose(scene.loss(weights, variant=variant).loss, behind.loss(more, variant=variant).loss)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("auto_mask", [False, True])
def test_a_masked_source_is_as_good_as_none(variant: str, auto_mask: bool) -> None:
    scene = wall()
    alone = replace(
        scene,
        source_images=scene.source_images[:, 1:],
        source_pixel_from_pixel=scene.source_pixel_from_pixel[:, 1:],
    )
    found, gradient = scene.with_gradient(variant=variant, auto_mask=auto_mask, use=inner(), source_use=right_alone())
    other, other_gradient = alone.with_gradient(variant=variant, auto_mask=auto_mask, use=inner())
    assert torch.allclose(found.loss, other.loss)
    assert torch.allclose(gradient, other_gradient, atol=1e-7)


@pytest.mark.parametrize("variant", VARIANTS)
def test_rays_that_a_mask_leaves_empty_do_not_darken_their_neighbours(variant: str) -> None:
    scene = wall()
    true = replace(scene, depths=scene.depths[..., TRUE : TRUE + 1])
    source_use = torch.ones(1, 2, HEIGHT, WIDTH, dtype=torch.bool)
    source_use[..., 16:32, :] = False
    found = true.loss(torch.ones_like(true.depths), variant=variant, auto_mask=False, source_use=source_use)
    assert found.loss < 0.01
    assert 0 < found.counts.sum() < found.counts.numel()


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_moves_in_a_source_does_not_pull_depth_to_it(variant: str) -> None:
    scene, wrong = wall(), TRUE + 2
    # At the wrong depth the left source shows what the target shows, as a car at nearly our speed would.
    lure = wall(offsets=(-0.6 * float(DEPTHS[TRUE] / DEPTHS[wrong]),)).source_images[:, 0]
    lured = replace(scene, source_images=torch.stack([lure, scene.source_images[:, 1]], dim=1))
    options: dict[str, Any] = {"variant": variant, "auto_mask": False, "use": inner()}
    believed = lured.loss_at(wrong, **options) - lured.loss_at(TRUE, **options)
    masked = {**options, "source_use": right_alone()}
    assert believed < 0.05
    assert lured.loss_at(wrong, **masked) - lured.loss_at(TRUE, **masked) > 0.1


def inner() -> Tensor:
    """Target pixels that both sources see at any of the depths but the nearest."""
    use = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    use[:, :, 19:45] = True
    return use


def right_alone() -> Tensor:
    """Source mask that hides the left source."""
    use = torch.ones(1, 2, HEIGHT, WIDTH, dtype=torch.bool)
    use[:, 0] = False
    return use


def test_gradient_is_right_under_masks() -> None:
    scene = wall()
    double = Wall(
        scene.images.double(),
        scene.source_images.double(),
        scene.source_pixel_from_pixel.double(),
        RayGrid(scene.grid.pixels.double()[::4][:20], 4, 5),
        scene.depths.double()[:, :20],
        "centres",
    )
    weights = torch.rand(1, 20, len(DEPTHS), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda w: double.loss(w, **masks()).loss, weights.requires_grad_(), fast_mode=True)


def test_weightless_rays_do_not_blow_up_under_a_floor() -> None:
    scene = wall()
    weights = torch.full_like(scene.depths, 1e-9).requires_grad_()
    steep = torch.autograd.grad(scene.loss(weights, auto_mask=False).loss, weights)[0]
    flat = torch.autograd.grad(scene.loss(weights, auto_mask=False, weight_floor=1e-4).loss, weights)[0]
    assert steep.abs().max() > 1e3
    assert flat.abs().max() < 1e3


def test_shapes_that_do_not_belong_together_are_named() -> None:
    scene = wall()
    with pytest.raises(ValueError, match=r"weights: expected shape \(1, 108, 5\), found \(1, 107, 5\)"):
        scene.loss(scene.depths[:, 1:])
    with pytest.raises(ValueError, match="source_use: expected shape"):
        scene.loss(scene.depths, source_use=torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool))
    with pytest.raises(ValueError, match="a use-mask is a boolean image"):
        scene.loss(scene.depths, use=torch.ones(1, HEIGHT, WIDTH))
