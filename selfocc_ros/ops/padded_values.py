# SPDX-License-Identifier: Apache-2.0
"""Bilinear sampling of feature maps without gradients, fast on a CPU: filled once, then sampled slab by slab."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class PaddedValues:
    """Values of deformable attention with a border of zeros around each level, so that no corner needs a mask.

    A table row is one head's channels at one pixel, rows run over x, then y, then levels, then heads, then images:
    queries that are neighbours read neighbouring rows, which is what a cache wants. Samples are told in steps: the
    distance in pixels from the centre of the border's first pixel, that is location * size + 0.5 where a location is 0
    to 1 across the level. What lies farther out than the border reads its zeros.

    Args:
        images: number of images.
        heads, channels: of each pixel.
        shapes: (height, width) of each level.
        points: samples of a bag in each level, next to each other.
        like: has the dtype and the device of values and weights.
    """

    def __init__(
        self,
        images: int,
        heads: int,
        channels: int,
        shapes: Sequence[tuple[int, int]],
        points: int,
        like: Tensor,
    ) -> None:
        self._shapes = tuple(shapes)
        self._pixels = [height * width for height, width in shapes]
        self._sizes = [(height + 2) * (width + 2) for height, width in shapes]
        # What a last pixel's lower neighbours are multiplied by is zero, but they must exist.
        spare = shapes[-1][1] + 3
        self._rows = sum(self._sizes) + spare
        self._table = like.new_empty(images, heads, self._rows, channels)
        self._table[:, :, -spare:] = 0
        starts = [sum(self._sizes[:level]) for level in range(len(shapes))]
        per_sample = torch.tensor(
            [(w + 1, h + 1, w + 2, start) for (h, w), start in zip(shapes, starts, strict=True)],
            dtype=torch.int32,
            device=like.device,
        ).repeat_interleave(points, dim=0)
        last_x, last_y, self._pitch, start = per_sample.unbind(dim=1)
        self._last_x, self._last_y = last_x.to(like.dtype), last_y.to(like.dtype)
        self._zero = torch.zeros_like(self._last_x)
        self._corners = torch.stack([start, start + 1, start + self._pitch, start + self._pitch + 1])

    def fill(self, image: int, values: Tensor) -> None:
        """Takes over an image's values (T, heads, channels), T pixels row by row, one level after the other."""
        levels = torch.split(values, self._pixels)
        padded = torch.split(self._table[image, :, : sum(self._sizes)], self._sizes, dim=1)
        for level, border, (height, width) in zip(levels, padded, self._shapes, strict=True):
            pixels = torch.unflatten(border, 1, (height + 2, width + 2))
            pixels[:, :: height + 1] = 0
            pixels[:, :, :: width + 1] = 0
            pixels[:, 1:-1, 1:-1] = torch.unflatten(level, 0, (height, width)).permute(2, 0, 1, 3)

    def sample(self, x: Tensor, y: Tensor, weights: Tensor, bag: Tensor) -> Tensor:
        """Weighted sums of samples.

        Args:
            x, y: (M, levels * points) steps, overwritten.
            weights: (M, levels * points).
            bag: (M,) int32: image * heads + head.

        Returns:
            (M, channels).
        """
        column, row = self._split(x, self._last_x), self._split(y, self._last_y)
        row.mul_(self._pitch).add_(column).add_((bag * self._rows).unsqueeze(1))
        shares = x.new_empty(len(x), 4, x.shape[1])
        upper_left, upper_right, lower_left, lower_right = shares.unbind(dim=1)
        lower = torch.mul(weights, y, out=y)
        torch.mul(lower, x, out=lower_right)
        torch.sub(lower, lower_right, out=lower_left)
        upper = torch.sub(weights, lower, out=lower)
        torch.mul(upper, x, out=upper_right)
        torch.sub(upper, upper_right, out=upper_left)
        rows = (row.unsqueeze(1) + self._corners).flatten(1)
        return F.embedding_bag(rows, self._table.flatten(0, 2), per_sample_weights=shares.flatten(1), mode="sum")

    def _split(self, steps: Tensor, last: Tensor) -> Tensor:
        """Index (int32) of the pixel before each step, which is left with the remaining share of a pixel."""
        torch.clamp(steps, self._zero, last, out=steps)
        # Conversion truncates, which is floor here. The clamp is for NaN: it shows in the sum, no crash.
        index = steps.to(torch.int32).clamp_(min=0)
        steps.sub_(index)
        return index
