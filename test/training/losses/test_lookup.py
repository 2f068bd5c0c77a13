# SPDX-License-Identifier: Apache-2.0
"""Pixels of one image in another: both conventions, masks that do not leak."""

from __future__ import annotations

import pytest
import torch

from selfocc_training.losses.lookup import (
    PixelConvention,
    inside_image,
    project,
    sample_colours,
    sample_labels,
    sample_mask,
    unit_colours,
)
from selfocc_training.losses.masks import combine_masks, masked_mean

RAMP = torch.arange(12.0).reshape(1, 1, 3, 4)


def test_integers_are_pixel_centres_by_choice_only() -> None:
    at = torch.tensor([[[0.0, 0.0], [3.0, 2.0], [1.5, 1.0]]])
    assert torch.allclose(sample_colours(RAMP, at, "centres")[0, :, 0], torch.tensor([0.0, 11.0, 5.5]), atol=1e-5)
    corners = torch.tensor([[[0.0, 0.0], [4.0, 3.0], [2.0, 1.5]]])
    assert torch.allclose(sample_colours(RAMP, corners)[0, :, 0], torch.tensor([0.0, 11.0, 5.5]), atol=1e-5)


@pytest.mark.parametrize("convention", ["selfocc", "centres"])
def test_masks_are_read_at_the_nearest_pixel_of_the_colours(convention: PixelConvention) -> None:
    at = torch.rand(1, 200, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.9, 2.9])
    use = torch.zeros(1, 3, 4, dtype=torch.bool)
    use[0, 1, 2] = True
    shown = sample_colours(use[:, None].float(), at, convention)[0, :, 0]
    near = sample_mask(use, at, convention)[0]
    assert near.any()
    assert (shown[near] >= 0.25 - 1e-5).all()
    assert (shown[~near] <= 0.5 + 1e-5).all()


def test_nothing_of_a_masked_pixel_seeps_over_its_edge() -> None:
    image = RAMP.clone()
    image[..., 2:] = torch.nan
    use = torch.ones(1, 3, 4, dtype=torch.bool)
    use[..., 2:] = False
    found = sample_colours(image, torch.tensor([[[1.4, 1.0], [0.5, 1.0]]]), "centres", use)[0, :, 0]
    assert torch.allclose(found, torch.tensor([5.0, 4.5]), atol=1e-5)


def test_labels_are_those_of_the_floor_or_of_the_nearest() -> None:
    labels = RAMP[:, 0].to(torch.uint8)
    at = torch.tensor([[[1.7, 0.2], [3.9, 2.6]]])
    assert sample_labels(labels, at).tolist() == [[1, 11]]
    assert sample_labels(labels, at, "centres").tolist() == [[2, 11]]


def test_projection_is_the_matrix() -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.eye(4) + 0.1 * torch.rand(2, 4, 4, generator=generator)
    pixels, depths = torch.rand(2, 5, 2, generator=generator) * 50, 1 + torch.rand(2, 5, 3, generator=generator)
    found, depth = project(pixels, depths, matrix)
    u, v = pixels[1, 4]
    z = depths[1, 4, 2]
    expected = matrix[1] @ torch.stack([u * z, v * z, z, torch.tensor(1.0)])
    assert torch.allclose(found[1, 4, 2], expected[:2] / expected[2], rtol=1e-5)
    assert torch.isclose(depth[1, 4, 2], expected[2], rtol=1e-5)


def test_behind_the_camera_is_not_inside() -> None:
    pixels = torch.tensor([[0.0, 1.0], [2.0, 1.0], [3.7, 1.0], [2.0, 1.0]])
    depths = torch.tensor([1.0, 1.0, 1.0, -1.0])
    assert inside_image(pixels, depths, (3, 4), "selfocc").tolist() == [False, True, True, False]
    assert inside_image(pixels, depths, (3, 4), "centres").tolist() == [True, True, False, False]


def test_bytes_are_divided_by_256() -> None:
    assert unit_colours(torch.tensor([128], dtype=torch.uint8)).item() == 0.5
    assert unit_colours(torch.tensor([0.3])).item() == pytest.approx(0.3)


def test_masks_combine_and_must_be_boolean() -> None:
    bonnet, moving = torch.tensor([[True, True, False]]), torch.tensor([[[True, False, True], [True, True, True]]])
    combined = combine_masks(None, bonnet[:, None], moving)
    assert combined is not None
    assert combined.tolist() == [[[True, False, False], [True, True, False]]]
    assert combine_masks(None, None) is None
    with pytest.raises(ValueError, match="boolean image"):
        combine_masks(moving.float())


def test_mean_of_nothing_is_zero() -> None:
    values = torch.tensor([torch.nan, 2.0], requires_grad=True)
    assert masked_mean(values, torch.tensor([False, True])) == 2
    nothing = masked_mean(values, torch.tensor([False, False]))
    assert nothing == 0
    assert (torch.autograd.grad(nothing, values)[0] == 0).all()
