# SPDX-License-Identifier: Apache-2.0
"""Triton kernels of multi-scale deformable attention: imported only where it is asked for."""

from __future__ import annotations

import functools
import os
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 512
"""Numbers of an output tile, queries' heads times channels: a load of 128 bits for each of 128 threads in float32."""


def deformable_attention_triton(
    values: Tensor, shapes: tuple[tuple[int, int], ...], locations: Tensor, weights: Tensor
) -> Tensor:
    """See `selfocc_ros.ops.deformable_attention`: the same on a CUDA device, summed in float32.

    The gradient of the values is added atomically, so its last bits differ from run to run.
    """
    if not values.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"implementation: 'triton' needs a CUDA device, but the values are on '{values.device}'.")
    out: Tensor = _Triton.apply(values, shapes, locations, weights)  # type: ignore[no-untyped-call]
    return out


class _Triton(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, shapes: tuple[tuple[int, int], ...], locations: Tensor, weights: Tensor
    ) -> Tensor:
        values, locations, weights = values.contiguous(), locations.contiguous(), weights.contiguous()
        ctx.save_for_backward(values, locations, weights)
        ctx.shapes = shapes
        batch, _, heads, channels = values.shape
        out = values.new_empty(batch, locations.shape[1], heads * channels)
        _launch(_forward_kernel, values, shapes, locations, weights, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        values, locations, weights = ctx.saved_tensors
        by_values = torch.zeros_like(values, dtype=torch.float32)
        by_locations, by_weights = torch.empty_like(locations), torch.empty_like(weights)
        inputs = (values, ctx.shapes, locations, weights)
        _launch(_backward_kernel, *inputs, gradient.contiguous(), by_values, by_locations, by_weights)
        return by_values.to(values.dtype), None, by_locations, by_weights


def _launch(
    kernel: Any, values: Tensor, shapes: tuple[tuple[int, int], ...], locations: Tensor, weights: Tensor, *rest: Tensor
) -> None:
    batch, tokens, heads, channels = values.shape
    _, queries, _, levels, points = weights.shape
    bags = queries * heads
    if batch * bags == 0:
        return
    block_channels = triton.next_power_of_2(channels)
    block_bags = max(1, TILE // block_channels)
    with torch.cuda.device_of(values):  # type: ignore[no-untyped-call]
        kernel[(triton.cdiv(bags, block_bags), batch)](
            *(values, _level_table(shapes, values.device), locations, weights, *rest, bags, tokens),
            HEADS=heads,
            CHANNELS=channels,
            LEVELS=levels,
            POINTS=points,
            BLOCK_BAGS=block_bags,
            BLOCK_CHANNELS=block_channels,
        )


@functools.lru_cache(maxsize=64)
def _level_table(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """Height, width and first token of each level; kept, so that a call copies nothing to the device."""
    firsts = [sum(height * width for height, width in shapes[:level]) for level in range(len(shapes))]
    rows = [(height, width, first) for (height, width), first in zip(shapes, firsts, strict=True)]
    return torch.tensor(rows, dtype=torch.int32, device=device)


@triton.jit  # type: ignore[untyped-decorator]
def _place(locations: tl.tensor, sample: tl.tensor, alive: tl.tensor, height: tl.tensor, width: tl.tensor) -> tl.tensor:
    """Whether samples touch the level; the pixel up and left of each, and how far right and down of its centre."""
    x = tl.load(locations + 2 * sample, mask=alive, other=-1.0).to(tl.float32) * width - 0.5
    y = tl.load(locations + 2 * sample + 1, mask=alive, other=-1.0).to(tl.float32) * height - 0.5
    near = alive & (x > -1) & (x < width) & (y > -1) & (y < height)
    x = tl.where(near, x, 0.0)  # what is far, or no number, has no pixel index
    y = tl.where(near, y, 0.0)
    left = tl.floor(x)
    top = tl.floor(y)
    return near, left.to(tl.int32), top.to(tl.int32), x - left, y - top


@triton.jit  # type: ignore[untyped-decorator]
def _forward_kernel(
    values: tl.tensor,
    levels: tl.tensor,
    locations: tl.tensor,
    weights: tl.tensor,
    out: tl.tensor,
    bags: tl.tensor,
    tokens: tl.tensor,
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    BLOCK_BAGS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
) -> None:
    """A tile of output: BLOCK_BAGS heads of queries, a bag of samples each, times all channels."""
    batch = tl.program_id(1).to(tl.int64)
    bag = tl.program_id(0) * BLOCK_BAGS + tl.arange(0, BLOCK_BAGS)
    channel = tl.arange(0, BLOCK_CHANNELS)
    alive = bag < bags
    real = channel < CHANNELS
    first = batch * tokens * HEADS * CHANNELS
    table = values + first + (bag % HEADS)[:, None] * CHANNELS + channel[None, :]
    total = tl.zeros((BLOCK_BAGS, BLOCK_CHANNELS), dtype=tl.float32)
    for level in range(LEVELS):
        height = tl.load(levels + 3 * level)
        width = tl.load(levels + 3 * level + 1)
        token = tl.load(levels + 3 * level + 2)
        for point in range(POINTS):
            sample = ((batch * bags + bag) * LEVELS + level) * POINTS + point
            weight = tl.load(weights + sample, mask=alive, other=0.0).to(tl.float32)
            near, left, top, x, y = _place(locations, sample, alive, height, width)
            for i in tl.static_range(2):
                for j in tl.static_range(2):
                    row = top + i
                    column = left + j
                    inside = near & (row >= 0) & (row < height) & (column >= 0) & (column < width)
                    share = weight * (1 - i + (2 * i - 1) * y) * (1 - j + (2 * j - 1) * x)
                    pixel = (token + row * width + column) * (HEADS * CHANNELS)
                    value = tl.load(table + pixel[:, None], mask=inside[:, None] & real[None, :], other=0.0)
                    total += share[:, None] * value.to(tl.float32)
    place = (batch * bags + bag)[:, None] * CHANNELS + channel[None, :]
    tl.store(out + place, total.to(out.dtype.element_ty), mask=alive[:, None] & real[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def _backward_kernel(
    values: tl.tensor,
    levels: tl.tensor,
    locations: tl.tensor,
    weights: tl.tensor,
    gradient: tl.tensor,
    by_values: tl.tensor,
    by_locations: tl.tensor,
    by_weights: tl.tensor,
    bags: tl.tensor,
    tokens: tl.tensor,
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    BLOCK_BAGS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
) -> None:
    """All gradients of a tile of output; those of the values, which tiles share, by atomic addition."""
    batch = tl.program_id(1).to(tl.int64)
    bag = tl.program_id(0) * BLOCK_BAGS + tl.arange(0, BLOCK_BAGS)
    channel = tl.arange(0, BLOCK_CHANNELS)
    alive = bag < bags
    real = channel < CHANNELS
    first = batch * tokens * HEADS * CHANNELS
    lane = (bag % HEADS)[:, None] * CHANNELS + channel[None, :]
    table = values + first + lane
    by_table = by_values + first + lane
    place = (batch * bags + bag)[:, None] * CHANNELS + channel[None, :]
    upstream = tl.load(gradient + place, mask=alive[:, None] & real[None, :], other=0.0).to(tl.float32)
    for level in range(LEVELS):
        height = tl.load(levels + 3 * level)
        width = tl.load(levels + 3 * level + 1)
        token = tl.load(levels + 3 * level + 2)
        for point in range(POINTS):
            sample = ((batch * bags + bag) * LEVELS + level) * POINTS + point
            weight = tl.load(weights + sample, mask=alive, other=0.0).to(tl.float32)
            near, left, top, x, y = _place(locations, sample, alive, height, width)
            by_weight = tl.zeros((BLOCK_BAGS,), dtype=tl.float32)
            by_x = tl.zeros((BLOCK_BAGS,), dtype=tl.float32)
            by_y = tl.zeros((BLOCK_BAGS,), dtype=tl.float32)
            for i in tl.static_range(2):
                for j in tl.static_range(2):
                    row = top + i
                    column = left + j
                    inside = near & (row >= 0) & (row < height) & (column >= 0) & (column < width)
                    mask = inside[:, None] & real[None, :]
                    pixel = (token + row * width + column) * (HEADS * CHANNELS)
                    value = tl.load(table + pixel[:, None], mask=mask, other=0.0).to(tl.float32)
                    along = tl.sum(value * upstream, axis=1)
                    vertical = 1 - i + (2 * i - 1) * y
                    horizontal = 1 - j + (2 * j - 1) * x
                    by_weight += along * vertical * horizontal
                    by_x += along * vertical * (2 * j - 1)
                    by_y += along * horizontal * (2 * i - 1)
                    share = weight * vertical * horizontal
                    tl.atomic_add(by_table + pixel[:, None], share[:, None] * upstream, mask=mask, sem="relaxed")
            tl.store(by_weights + sample, by_weight.to(by_weights.dtype.element_ty), mask=alive)
            by_x = by_x * weight * width
            by_y = by_y * weight * height
            tl.store(by_locations + 2 * sample, by_x.to(by_locations.dtype.element_ty), mask=alive)
            tl.store(by_locations + 2 * sample + 1, by_y.to(by_locations.dtype.element_ty), mask=alive)
