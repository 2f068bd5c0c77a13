# SPDX-License-Identifier: Apache-2.0
"""Scenes of coming steps, drawn by a thread while the network learns from the ones before."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from selfocc_training.steps import Step

T = TypeVar("T")


def moved(value: T, device: torch.device, dtype: torch.dtype) -> T:
    """``value`` with all its tensors on ``device``, floating-point ones as ``dtype``: tensors, dataclasses, tuples.

    Copies to a GPU do not wait for what it is computing.
    """
    result: Any = value
    if isinstance(value, Tensor):
        result = value.to(dtype) if value.is_floating_point() else value
        if device.type == "cuda":
            result = result.pin_memory().to(device, non_blocking=True)
        else:
            result = result.to(device)
    elif isinstance(value, tuple):
        result = tuple(moved(item, device, dtype) for item in value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        result = dataclasses.replace(value, **{name: moved(item, device, dtype) for name, item in fields.items()})
    return result  # type: ignore[no-any-return]


class StepLoader:
    """Scenes step after step, ``ahead`` steps drawn before they are asked for.

    What is drawn depends on the step's number alone, so it is the same however far ahead it is drawn. One thread draws,
    in order: clips that are read from disk meet one reader.
    """

    def __init__(self, draw: Callable[[int], list[Step]], first: int, until: int, ahead: int) -> None:
        """Begin to draw steps ``first`` to ``until - 1``; ``ahead`` 0 draws each when it is asked for."""
        self._draw, self._next, self._until, self._ahead = draw, first, until, ahead
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="steps")
        self._drawn: deque[Future[list[Step]]] = deque()
        self._fill(ahead)

    def take(self) -> list[Step]:
        """The scenes of the next step.

        Raises:
            IndexError: there are no more steps.
        """
        self._fill(self._ahead + 1)
        return self._drawn.popleft().result()

    def close(self) -> None:
        """Stop drawing."""
        self._pool.shutdown(cancel_futures=True)

    def _fill(self, count: int) -> None:
        while len(self._drawn) < count and self._next < self._until:
            self._drawn.append(self._pool.submit(self._draw, self._next))
            self._next += 1
