# SPDX-License-Identifier: Apache-2.0
"""The grid of rays lies in the picture."""

from __future__ import annotations

import math

import torch

from selfocc_training.losses.ray_grid import ray_grid


def test_grid_stays_in_the_image_and_fills_it_at_full_stride() -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        pixels = ray_grid((144, 256), 18, 32, torch.rand(4, generator=generator)).pixels
        assert (pixels >= 0).all()
        assert (pixels[:, 0] <= 255).all()
        assert (pixels[:, 1] <= 143).all()
    full = ray_grid((144, 256), 18, 32, torch.ones(4)).pixels
    assert math.isclose(float(full[1, 0] - full[0, 0]), 8.0)
