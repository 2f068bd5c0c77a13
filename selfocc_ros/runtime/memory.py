# SPDX-License-Identifier: Apache-2.0
"""Telling that memory has run out from other failures, and giving back what is only kept for later.

Torch is not imported here: where it has not been loaded, it holds no memory.
"""

from __future__ import annotations

import gc
import sys

_SIGNS = (
    "out of memory",
    "can't allocate memory",  # torch on the CPU
    "cannot allocate memory",
    "cudaErrorMemoryAllocation",
    "STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the memory of the device, or of the machine, is used up."""
    # By name: torch.OutOfMemoryError has moved between releases, and libraries raise plain RuntimeErrors.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign.lower() in str(error).lower() for sign in _SIGNS)


def free_memory() -> None:
    """Give memory back that nobody uses: unreachable objects, and what torch keeps of the device for later."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
