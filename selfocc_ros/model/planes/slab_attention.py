# SPDX-License-Identifier: Apache-2.0
"""Both attentions of the encoder on a CPU without gradients: all that a slab of queries needs stays in the cache.

``PlaneSelfAttention`` and ``ImageCrossAttention`` say what is computed; this is the same, told so that offsets and
weights never exist for more than a slab, x and y lie apart and heads follow one another, as ``PaddedValues`` wants it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selfocc_ros.model.planes.rig_cache import PlaneHits, Slab
from selfocc_ros.model.planes.sampling import DeformableSampling, within_reach
from selfocc_ros.ops.padded_values import PaddedValues
from selfocc_ros.ops.slabs import for_each_slab


class HeadProjections:
    """The learnt projections of deformable attention, head by head and with the samples in bundles.

    Args:
        sampling: the layers.
        bundles: into how many groups of neighbours the points of each level are cut.
    """

    def __init__(self, sampling: DeformableSampling, bundles: int) -> None:
        self.heads, self.bundles = sampling.heads, bundles
        self.levels, self.points = sampling.levels, sampling.points // bundles
        order = (self.heads, self.levels, bundles, self.points)
        offsets, logits = sampling.sampling_offsets, sampling.attention_weights
        # (2 or 1, heads, bundles, levels, points of a bundle, ...)
        offset_weight = offsets.weight.view(*order, 2, -1).permute(4, 0, 2, 1, 3, 5)
        offset_bias = offsets.bias.view(*order, 2).permute(4, 0, 2, 1, 3)
        logit_weight, logit_bias = logits.weight.view(1, *order, -1), logits.bias.view(1, *order)
        self._weight = torch.cat([offset_weight, logit_weight.transpose(2, 3)]).flatten(2, 4).transpose(2, 3)
        self._bias = torch.cat([offset_bias, logit_bias.transpose(2, 3)]).flatten(2).unsqueeze(2)

    def __call__(self, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets along x and y in pixels, and weights, (heads, Q, bundles, levels * points) each, of (Q, dim)."""
        by_head = queries.expand(self.heads, *queries.shape)
        x, y, logits = (torch.baddbmm(b, by_head, w) for b, w in zip(self._bias, self._weight, strict=True))
        shape = (self.heads, len(queries), self.bundles, -1)
        return x.view(shape), y.view(shape), _softmax(logits).view(shape)

    def table(self, images: int, shapes: Sequence[tuple[int, int]], like: Tensor) -> PaddedValues:
        """Room for the values of images with levels of these shapes, sampled a bundle at a time."""
        return PaddedValues(images, self.heads, like.shape[1] // self.heads, shapes, self.points, like)


def self_attention_in_slabs(
    sampling: DeformableSampling,
    shapes: Sequence[tuple[int, int]],
    tokens: Tensor,
    positions: Tensor,
    references: Tensor,
    slab_samples: int,
) -> Tensor:
    """What ``PlaneSelfAttention`` samples, (T, dim), of what it is given."""
    project = HeadProjections(sampling, bundles=1)
    table = project.table(1, shapes, tokens)
    table.fill(0, sampling.values(tokens))
    sizes = _sizes(shapes, tokens)
    sampled = torch.empty_like(tokens)
    queries_at_a_time = max(1, slab_samples // sampling.samples_per_query)

    def sample(first: int) -> None:
        slab = slice(first, first + queries_at_a_time)
        x, y, weights = (samples.squeeze(2) for samples in project(tokens[slab] + positions[slab]))
        heads, count, _ = x.shape
        starts = references[slab].expand(-1, -1, sampling.points, -1)
        for along, step in zip((x, y), _steps(starts, sizes), strict=True):
            along += step
        bag = torch.arange(heads, dtype=torch.int32).repeat_interleave(count)
        found = table.sample(x.flatten(0, 1), y.flatten(0, 1), weights.flatten(0, 1), bag)
        sampled[slab] = found.view(heads, count, -1).transpose(0, 1).flatten(1)

    for_each_slab(sample, range(0, len(tokens), queries_at_a_time), tokens.device)
    return sampled


def cross_attention_in_slabs(
    sampling: DeformableSampling,
    bundles: int,
    shapes: Sequence[tuple[int, int]],
    queries: Tensor,
    image_tokens: Tensor,
    hits: PlaneHits,
) -> Tensor:
    """What ``ImageCrossAttention`` samples in all cameras together: (T, dim) of queries (T, dim)."""
    project = HeadProjections(sampling, bundles)
    table = project.table(len(image_tokens), shapes, queries)
    images = range(len(image_tokens))
    for_each_slab(lambda image: table.fill(image, sampling.values(image_tokens[image])), images, queries.device)
    sizes = _sizes(shapes, queries)
    sampled = torch.empty_like(queries)

    def sample(slab: Slab) -> None:
        rows = slice(slab.start, slab.stop)
        sampled[rows] = _sum_of_cameras(project, table, sizes, queries[rows], slab) if slab.hits else 0

    for_each_slab(sample, hits.slabs, queries.device)
    return sampled


def _sum_of_cameras(
    project: HeadProjections, table: PaddedValues, sizes: Tensor, queries: Tensor, slab: Slab
) -> Tensor:
    """What all cameras give to a slab's queries: (slab, dim)."""
    heads, bundles = project.heads, project.bundles
    x, y, weights = project(queries)
    reach = None
    if bundles > 1:
        reach = torch.stack([_reach(along, project.levels, size) for along, size in zip((x, y), sizes.T, strict=True)])
    x, y, weights = (samples.flatten(1, 2) for samples in (x, y, weights))
    summed = queries.new_zeros(heads, len(queries), queries.shape[1] // heads)
    for hit in slab.hits:
        rows, chosen, references = hit.rows, hit.rows, hit.references
        if reach is not None:
            references = references.view(len(rows), bundles, -1, 2)
            token, bundle = within_reach(references, reach.T[rows]).nonzero(as_tuple=True)
            rows, references = rows[token], references[token, bundle]
            chosen = rows * bundles + bundle
        column, row, attention = (samples.index_select(1, chosen) for samples in (x, y, weights))
        for along, step in zip((column, row), _steps(references.unsqueeze(1), sizes), strict=True):
            along += step
        bag = torch.arange(hit.camera * heads, (hit.camera + 1) * heads, dtype=torch.int32).repeat_interleave(len(rows))
        found = table.sample(column.flatten(0, 1), row.flatten(0, 1), attention.flatten(0, 1), bag)
        summed.index_add_(1, rows, found.view(heads, len(rows), -1))
    return summed.transpose(0, 1).flatten(1)


def _softmax(logits: Tensor) -> Tensor:
    """Softmax over the last dimension, overwriting the logits: torch takes 18 ns a number where they are few."""
    if logits.shape[-1] >= 16:
        return logits.softmax(dim=-1)
    exponentials = logits.sub_(logits.amax(dim=-1, keepdim=True)).exp_()
    return exponentials.div_(exponentials.sum(dim=-1, keepdim=True))


def _steps(references: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Steps along x and y, (Q, levels * points) each, of references (Q, levels or 1, points, 2)."""
    x, y = ((references[..., i] * sizes[:, i : i + 1]).add_(0.5).flatten(1) for i in range(2))
    return x, y


def _reach(offsets: Tensor, levels: int, sizes: Tensor) -> Tensor:
    """How far (Q,), as a share of the image, offsets (heads, Q, bundles, levels * points) in pixels still read."""
    farthest = torch.unflatten(offsets.abs().amax(dim=0), 2, (levels, -1)).amax(dim=(1, 3))
    return ((farthest + 0.5) / sizes).amax(dim=1)


def _sizes(shapes: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """(levels, 2) width and height in pixels."""
    return torch.tensor([(width, height) for height, width in shapes], dtype=like.dtype)
