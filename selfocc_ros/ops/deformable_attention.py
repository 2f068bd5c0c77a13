# SPDX-License-Identifier: Apache-2.0
"""Multi-scale deformable attention (Zhu et al. 2021, "Deformable DETR", eq. 3) without its linear layers."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from selfocc_ros.ops.padded_values import PaddedValues

IMPLEMENTATIONS = ("auto", "reference", "gather", "triton")
_auto = contextvars.ContextVar("implementation", default="auto")
FORWARD_SLAB = 1 << 17
"""Samples per thread that the gather holds at a time: few enough for a core's cache, enough to pay for the calls."""
BACKWARD_SLAB = 1 << 14
"""The same for its gradients, where a sample is many more numbers; of one head."""


def deformable_attention(
    values: Tensor,
    shapes: Sequence[tuple[int, int]],
    locations: Tensor,
    weights: Tensor,
    implementation: str = "auto",
) -> Tensor:
    """Each query's weighted sum of bilinear samples, head by head; differentiable once in all three tensors.

    ``out[b, q, head] = sum over levels l and points p of weights[b, q, head, l, p] * values_l(locations[b, q, head,
    l, p])``. Pixel (column, row) of a level has its centre at location ((column + 0.5) / width, (row + 0.5) / height);
    outside the level there are zeros. Sums are in float32, or float64 where the values are.

    Args:
        values: (B, T, heads, channels), T pixels of all levels, row-major, one level after the other.
        shapes: (height, width) of each level.
        locations: (B, Q, heads, levels, points, 2), x and y, 0 to 1 across each level.
        weights: (B, Q, heads, levels, points).
        implementation: ``reference`` (readable), ``gather`` (fast on a CPU), ``triton`` (CUDA), or ``auto``: the
            fastest that runs on the values' device.

    Returns:
        (B, Q, heads * channels), of the values' dtype.

    Raises:
        ValueError: for an unknown implementation, or tensors whose shapes do not belong together.
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"implementation: '{implementation}' is unknown; deformable attention has {', '.join(IMPLEMENTATIONS)}."
        )
    _check_shapes(values, shapes, locations, weights)
    if implementation == "auto":
        implementation = _auto.get()
    if implementation == "auto":
        implementation = _fastest(values)
    if implementation == "reference":
        return _reference(values, shapes, locations, weights)
    sizes = tuple((int(height), int(width)) for height, width in shapes)
    if implementation == "gather":
        out: Tensor = _Gather.apply(values, sizes, locations, weights)  # type: ignore[no-untyped-call]
        return out
    from selfocc_ros.ops.deformable_attention_triton import deformable_attention_triton

    return deformable_attention_triton(values, sizes, locations, weights)


def samples_in_slabs(values: Tensor) -> bool:
    """Whether values are sampled best by ``PaddedValues``: on a CPU, in full precision, nobody asking for gradients."""
    full = values.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    return full and not torch.is_grad_enabled() and values.device.type == "cpu" and _auto.get() in ("auto", "gather")


@contextlib.contextmanager
def auto_means(implementation: str) -> Iterator[None]:
    """Lets ``auto`` choose one implementation, for all that compare with it."""
    token = _auto.set(implementation)
    try:
        yield
    finally:
        _auto.reset(token)


def _check_shapes(values: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> None:
    batch, tokens, heads, _ = values.shape
    pixels = sum(height * width for height, width in shapes)
    if tokens != pixels:
        raise ValueError(f"values: {tokens} tokens, but the levels {tuple(shapes)} have {pixels} pixels.")
    expected = (batch, weights.shape[1], heads, len(shapes), weights.shape[-1])
    if weights.shape != expected or locations.shape != (*expected, 2):
        raise ValueError(
            f"weights {tuple(weights.shape)} and locations {tuple(locations.shape)} do not fit values "
            f"{tuple(values.shape)} of {len(shapes)} levels: expected {expected} and {(*expected, 2)}."
        )


def _fastest(values: Tensor) -> str:
    if values.device.type == "cpu":
        return "gather"
    # The kernels compute in float32: float64 is asked for by those who check gradients.
    return "triton" if values.is_cuda and values.dtype != torch.float64 and _triton_imports() else "reference"


@functools.cache
def _triton_imports() -> bool:
    try:
        importlib.import_module("triton")
    except ImportError:
        return False
    return True


def _accumulator(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _reference(values: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """The definition, level by level, with ``grid_sample``."""
    batch, _, heads, channels = values.shape
    queries, dtype = locations.shape[1], _accumulator(values)
    total = values.new_zeros(batch * heads, channels, queries, dtype=dtype)
    by_level = torch.split(values.to(dtype), [height * width for height, width in shapes], dim=1)
    for level, (height, width) in enumerate(shapes):
        image = by_level[level].permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
        grid = 2 * locations[:, :, :, level].to(dtype).transpose(1, 2).flatten(0, 1) - 1  # (B heads, Q, points, 2)
        attention = weights[:, :, :, level].to(dtype).transpose(1, 2).flatten(0, 1)  # (B heads, Q, points)
        samples = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        total = total + (samples * attention.unsqueeze(1)).sum(dim=-1)
    return total.reshape(batch, heads * channels, queries).transpose(1, 2).to(values.dtype)


class _Gather(torch.autograd.Function):
    """A slab of queries after the other, so that everything stays in the cache; backwards also head by head."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, shapes: tuple[tuple[int, int], ...], locations: Tensor, weights: Tensor
    ) -> Tensor:
        ctx.save_for_backward(values, locations, weights)
        ctx.shapes = shapes
        batch, _, heads, channels = values.shape
        dtype = _accumulator(values)
        sizes = torch.tensor([(width, height) for height, width in shapes], dtype=dtype, device=values.device)
        sizes = sizes.view(1, 1, -1, 1, 2)
        table = PaddedValues(batch, heads, channels, shapes, weights.shape[-1], like=sizes)
        out = values.new_empty(batch, locations.shape[1], heads, channels)
        for image in range(batch):
            table.fill(image, values[image])
            bags = torch.arange(image * heads, (image + 1) * heads, dtype=torch.int32, device=out.device)
            for slab in _slabs(weights, FORWARD_SLAB // heads):
                part = (image, slab)
                steps = (locations[part] * sizes).add_(0.5).permute(4, 1, 0, 2, 3).flatten(1, 2).flatten(2)
                attention = weights[part].to(dtype).transpose(0, 1).flatten(0, 1).flatten(1)
                found = table.sample(steps[0], steps[1], attention, bags.repeat_interleave(len(out[part])))
                out[part] = found.view(heads, -1, channels).transpose(0, 1)
        return out.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        values, locations, weights = ctx.saved_tensors
        batch, _, heads, channels = values.shape
        cells = _Cells(ctx.shapes, weights.shape[-1], _accumulator(values), values.device)
        gradient = gradient.reshape(batch, -1, heads, channels)
        by_values, by_locations, by_weights = (torch.empty_like(tensor) for tensor in (values, locations, weights))
        table, by_table = cells.new_table(channels), cells.new_table(channels)
        scratch = table.new_empty(_queries_at_a_time(weights, BACKWARD_SLAB) * cells.samples, 4 * channels)
        for image, head in itertools.product(range(batch), range(heads)):
            cells.fill(table, values[image, :, head])
            by_table.zero_()
            for slab in _slabs(weights, BACKWARD_SLAB):
                part = (image, slab, head)
                place = cells.place(locations[part], weights[part])
                upstream = gradient[part].to(cells.dtype)
                by_location, by_weight = _slab_gradients(table, by_table, place, upstream, scratch)
                by_location *= cells.slopes(locations[part])
                by_locations[part] = by_location.view_as(locations[part])
                by_weights[part] = by_weight.reshape_as(weights[part])
            by_values[image, :, head] = cells.fold(by_table)
        return by_values, None, by_locations, by_weights


class _Place(NamedTuple):
    """Samples in a table of cells, (n, samples) each: a query's samples are the points of all levels."""

    cell: Tensor
    """Row of the table, int32."""
    x: Tensor
    """0 at the cell's left corners, 1 at the right ones."""
    y: Tensor
    """0 at the cell's upper corners, 1 at the lower ones."""
    weight: Tensor
    """Attention."""

    def shares(self) -> list[Tensor]:
        """What each corner counts: upper left, upper right, lower left, lower right."""
        lower = self.weight * self.y
        upper = self.weight - lower
        lower_right, upper_right = lower * self.x, upper * self.x
        return [upper - upper_right, upper_right, lower - lower_right, lower_right]


class _Cells:
    """The cells between pixel centres, also those between the outermost centres and the zeros around a level.

    A level of (height, width) has (height + 1) x (width + 1) cells. A row of the table, (cells, 4 * channels), holds
    the values at a cell's four corners in the order of `_Place.shares`. A sample is then one row and four weights: no
    corner needs a mask, what is read together lies together, and gradients are added once a sample, not once a corner.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, int]], points: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.dtype, self.samples = dtype, len(shapes) * points
        self._shapes = shapes
        self._pixels = [height * width for height, width in shapes]
        self._counts = [(height + 1) * (width + 1) for height, width in shapes]
        starts = [sum(self._counts[:level]) for level in range(len(shapes))]
        heights, widths = zip(*shapes, strict=True)
        self._height, self._width, self._start = (
            torch.tensor(column, dtype=torch.int32, device=device).repeat_interleave(points)
            for column in (heights, widths, starts)
        )
        self._pitch = self._width + 1
        self._height_f, self._width_f = self._height.to(dtype), self._width.to(dtype)
        self._size = torch.stack([self._width_f, self._height_f], dim=-1)  # (samples, 2)

    def new_table(self, channels: int) -> Tensor:
        """A table of zeros; those around the levels stay."""
        return torch.zeros(sum(self._counts), 4 * channels, dtype=self.dtype, device=self._size.device)

    def fill(self, table: Tensor, values: Tensor) -> None:
        """Writes a head's values, (T, channels), to each corner that a pixel is."""
        for level, corners in zip(torch.split(values, self._pixels), self._corners(table), strict=True):
            for corner in corners:
                corner.copy_(level.reshape(corner.shape))

    def fold(self, table: Tensor) -> Tensor:
        """The adjoint of `fill`: each pixel's sum over the corners that it is, (T, channels)."""
        return torch.cat([(a + b + c + d).flatten(0, 1) for a, b, c, d in self._corners(table)])

    def _corners(self, table: Tensor) -> Iterator[list[Tensor]]:
        """For each level, its pixels (height, width, channels) as each of the four corners of cells, as views."""
        for level, (height, width) in zip(torch.split(table, self._counts), self._shapes, strict=True):
            cells = level.view(height + 1, width + 1, 2, 2, -1)
            yield [cells[1 - i : height + 1 - i, 1 - j : width + 1 - j, i, j] for i in (0, 1) for j in (0, 1)]

    def place(self, locations: Tensor, weights: Tensor) -> _Place:
        """Finds samples at (n, levels, points, 2) that weigh (n, levels, points)."""
        located = locations.to(self.dtype).flatten(1, 2)
        column, x = _split(located[..., 0], self._width_f, self._width)
        row, y = _split(located[..., 1], self._height_f, self._height)
        cell = row.mul_(self._pitch).add_(column).add_(self._start)
        return _Place(cell, x, y, weights.to(self.dtype).flatten(1))

    def slopes(self, locations: Tensor) -> Tensor:
        """Pixels per location, (n, samples, 2): the level's size, and nothing where all is zero around the level."""
        from_middle = (locations.to(self.dtype).flatten(1, 2) - 0.5).abs_()
        return torch.where(from_middle < 0.5 + 0.5 / self._size, self._size, 0)


def _split(location: Tensor, size: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Index (int32) of the cell along an axis, and how far into it."""
    # Cell 0 begins a pixel before the first centre, which is at location 0.5 / size. Farther out all is zero as there.
    steps = torch.minimum((location * size).add_(0.5).clamp_(min=0), size + 1)
    # Conversion truncates, which is floor here. The clamp is for what is no number: that shows in the sum, no crash.
    index = torch.minimum(steps.to(torch.int32).clamp_(min=0), last)
    return index, steps.sub_(index)


def _slabs(weights: Tensor, slab: int) -> Iterator[slice]:
    step = _queries_at_a_time(weights, slab)
    return (slice(first, first + step) for first in range(0, weights.shape[1], step))


def _queries_at_a_time(weights: Tensor, slab: int) -> int:
    _, queries, _, levels, points = weights.shape
    return max(1, min(queries, slab * torch.get_num_threads() // max(1, levels * points)))


def _slab_gradients(
    table: Tensor, by_table: Tensor, place: _Place, gradient: Tensor, scratch: Tensor
) -> tuple[Tensor, Tensor]:
    """Adds to the table's gradient; returns those by x and y in the cell (n, samples, 2) and weight (n, samples)."""
    n, samples = place.cell.shape
    cell, upstream = place.cell.reshape(-1), gradient.unsqueeze(1)
    # Fresh memory for so many rows would cost several times what reading them does.
    rows = torch.index_select(table, 0, cell, out=scratch[: len(cell)])
    corners = rows.view(n, samples * 4, -1)
    with torch.autocast("cpu", enabled=False):  # it would halve the precision of the matrix product
        along = torch.bmm(upstream, corners.transpose(1, 2)).view(n, samples, 4)
    upper_left, upper_right, lower_left, lower_right = along.unbind(dim=-1)
    upper, lower = torch.lerp(upper_left, upper_right, place.x), torch.lerp(lower_left, lower_right, place.x)
    across = torch.lerp(upper_right - upper_left, lower_right - lower_left, place.y)
    by_location = torch.stack([place.weight * across, place.weight * (lower - upper)], dim=-1)

    shares = torch.stack(place.shares(), dim=-1).view(n, samples * 4, 1)
    torch.mul(shares, upstream, out=corners)
    by_table.index_add_(0, cell.long(), rows)  # it would convert int32 row by row
    return by_location, torch.lerp(upper, lower, place.y)
