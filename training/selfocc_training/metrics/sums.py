# SPDX-License-Identifier: Apache-2.0
"""Accumulators: what parallel workers count is added, and what was counted before a break is read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np

S = TypeVar("S", bound="Sums")


@dataclass(frozen=True, eq=False)
class Sums:
    """Base of accumulators: a frozen dataclass of arrays and of other sums, which add up field by field.

    Fields of any other type say what is being summed, and must be equal in both summands.
    """

    def __add__(self: S, other: S) -> S:
        changes: dict[str, Any] = {}
        for entry in fields(self):
            mine, theirs = getattr(self, entry.name), getattr(other, entry.name)
            if isinstance(mine, Sums):
                changes[entry.name] = mine + theirs
            elif isinstance(mine, np.ndarray):
                if mine.shape != theirs.shape:
                    raise ValueError(f"{entry.name} of shapes {mine.shape} and {theirs.shape} do not add up")
                changes[entry.name] = mine + theirs
            elif mine != theirs:
                raise ValueError(f"scores of {entry.name} {mine} and of {theirs} do not add up")
        return replace(self, **changes)

    def state(self) -> dict[str, Any]:
        """Everything in lists and numbers, as JSON likes them."""
        return {entry.name: _plain(getattr(self, entry.name)) for entry in fields(self)}

    def restored(self: S, state: Mapping[str, Any]) -> S:
        """The accumulator with what ``state`` of one of the same make held.

        Raises:
            ValueError: it was made by something else.
        """
        changes: dict[str, Any] = {}
        for entry in fields(self):
            mine = getattr(self, entry.name)
            if entry.name not in state:
                raise ValueError(f"saved {type(self).__name__} lacks {entry.name}")
            saved = state[entry.name]
            if isinstance(mine, Sums):
                changes[entry.name] = mine.restored(saved)
            elif isinstance(mine, np.ndarray):
                array = np.asarray(saved, mine.dtype)
                if array.shape != mine.shape:
                    raise ValueError(f"saved {entry.name} has shape {array.shape}, expected {mine.shape}")
                changes[entry.name] = array
            elif json.dumps(_plain(mine)) != json.dumps(saved):
                raise ValueError(f"saved scores are of {entry.name} {saved}, expected {_plain(mine)}")
        return replace(self, **changes)


def _plain(value: Any) -> Any:
    if isinstance(value, Sums):
        return value.state()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value
