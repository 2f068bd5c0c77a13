# SPDX-License-Identifier: Apache-2.0
"""Sampling with a border of zeros: agrees with the definition, far outside and for what is no number too."""

from __future__ import annotations

import math

import torch

from selfocc_ros.ops.deformable_attention import auto_means, deformable_attention, samples_in_slabs
from selfocc_ros.ops.padded_values import PaddedValues

SHAPES = ((4, 3), (1, 1), (2, 5))
HEADS, CHANNELS, POINTS, QUERIES = 2, 3, 2, 40


def test_every_bag_reads_its_own_image_and_head() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, sum(h * w for h, w in SHAPES), HEADS, CHANNELS, generator=generator)
    locations = torch.rand(2, QUERIES, HEADS, len(SHAPES), POINTS, 2, generator=generator) * 3 - 1
    locations[:, :2] *= 1e6
    weights = torch.rand(2, QUERIES, HEADS, len(SHAPES), POINTS, generator=generator)
    expected = deformable_attention(values, SHAPES, locations, weights, "reference").view(2, QUERIES, HEADS, CHANNELS)
    table = PaddedValues(2, HEADS, CHANNELS, SHAPES, POINTS, like=values)
    for image in (1, 0):
        table.fill(image, values[image])
    sizes = torch.tensor([(width, height) for height, width in SHAPES])[:, None]
    steps = (locations * sizes + 0.5).flatten(0, 2).flatten(1, 2)
    image, _, head = torch.meshgrid(torch.arange(2), torch.arange(QUERIES), torch.arange(HEADS), indexing="ij")
    bags = (image * HEADS + head).flatten().int()
    found = table.sample(steps[..., 0].clone(), steps[..., 1].clone(), weights.flatten(0, 2).flatten(1), bags)
    torch.testing.assert_close(found.view_as(expected), expected, atol=1e-5, rtol=1e-5)


def test_what_is_no_number_shows_and_does_no_harm() -> None:
    values = torch.ones(1, 12, 1, CHANNELS)
    table = PaddedValues(1, 1, CHANNELS, SHAPES[:1], 1, like=values)
    table.fill(0, values[0])
    x = torch.tensor([[math.nan], [math.inf], [-math.inf], [1.0]])
    found = table.sample(x, torch.full((4, 1), 2.0), torch.ones(4, 1), torch.zeros(4, dtype=torch.int32))
    assert found[0].isnan().all()
    assert found[1:].tolist() == [[0.0] * 3, [0.0] * 3, [1.0] * 3]


def test_slabs_are_for_inference_in_full_precision_on_a_cpu() -> None:
    values = torch.ones(1)
    with torch.no_grad():
        assert samples_in_slabs(values)
        assert not samples_in_slabs(values.half())
        with auto_means("reference"):
            assert not samples_in_slabs(values)
        with torch.autocast("cpu"):
            assert not samples_in_slabs(values)
    assert not samples_in_slabs(values)
