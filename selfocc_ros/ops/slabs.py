# SPDX-License-Identifier: Apache-2.0
"""Work that falls into independent slabs, shared among the cores of a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Slab = TypeVar("Slab")


def for_each_slab(task: Callable[[Slab], None], slabs: Sequence[Slab], device: torch.device) -> None:
    """Run a task for every slab; on a CPU on as many threads as torch may use, each of which computes by itself.

    Torch shares out every single operation and waits for all threads at its end. A slab has dozens of operations of
    some ten microseconds: they would wait as long as they compute, and much longer where another process holds one of
    the cores. Tasks release the interpreter while torch computes; they must not touch the same memory.
    """
    threads = min(torch.get_num_threads(), len(slabs)) if device.type == "cpu" else 1
    if threads <= 1:
        for slab in slabs:
            task(slab)
        return
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def in_this_mode(slab: Slab) -> None:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            task(slab)

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in pool.map(in_this_mode, slabs):
                pass
    finally:
        torch.set_num_threads(before)
