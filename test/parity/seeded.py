# SPDX-License-Identifier: Apache-2.0
"""Random numbers that every version of numpy and torch gives alike: each tensor's follow from its name alone."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn


def normal(name: str, *shape: int) -> Tensor:
    """Standard normal float32 numbers. NumPy has frozen ``RandomState``, unlike its newer generators."""
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    return torch.from_numpy(np.asarray(values)).float()


def uniform(name: str, *shape: int) -> Tensor:
    """Float32 numbers in 0..1."""
    values = np.random.RandomState(zlib.crc32(name.encode())).random_sample(shape)
    return torch.from_numpy(np.asarray(values)).float()


def picture(name: str, *shape: int) -> Tensor:
    """A uint8 image, or several, smooth enough that neighbouring pixels tell of each other: (..., height, width)."""
    coarse = uniform(name, *shape[:-2], -(-shape[-2] // 4) + 1, -(-shape[-1] // 4) + 1).numpy()
    rows, columns = (np.arange(size) / 4 for size in shape[-2:])
    for axis, places in ((-2, rows), (-1, columns)):
        low = places.astype(int)
        share = (places - low).reshape((-1, 1) if axis == -2 else (-1,)).astype(np.float32)
        coarse = coarse.take(low, axis) * (1 - share) + coarse.take(low + 1, axis) * share
    return torch.from_numpy(np.floor(coarse * 255.99).astype(np.uint8))


def parameter(name: str, default: Tensor) -> Tensor:
    """What a network's entry ``name`` holds, spread so that every part of a network has its say in the result."""
    shape = tuple(default.shape)
    if not default.is_floating_point() or name.endswith(("aabb", "field_background")):
        return default.detach().clone()
    if name.endswith("deviation_network.variance"):
        return torch.full(shape, 0.1)
    values = normal(name, *shape)
    if name.endswith("running_var"):
        return 1 + 0.3 * values.abs()
    if name.endswith(("bias", "running_mean")) and "sampling_offsets" not in name:
        return 0.1 * values
    if name.endswith(("_embeds", "sampling_offsets.bias")) or name.startswith(("lifter.", "tpv_", "bev")):
        return values
    if len(shape) == 1:
        return 1 + 0.1 * values
    return values / float(np.sqrt(np.prod(shape[1:])))


def seeded_state(module: nn.Module) -> Mapping[str, Tensor]:
    """Values of all entries of a module."""
    return {name: parameter(name, value) for name, value in module.state_dict().items()}


def seed(module: nn.Module) -> None:
    """Give all entries of a module their values."""
    module.load_state_dict(seeded_state(module))
