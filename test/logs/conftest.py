# SPDX-License-Identifier: Apache-2.0
"""A disk that is nearly full, and a way to recorded_drives.py, which importlib mode alone does not have."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

SmallDisk = Callable[..., AbstractContextManager[Callable[[int], None]]]


@pytest.fixture
def small_disk() -> SmallDisk:
    """Within `small_disk(room)` no file gets longer than `room` bytes, nor than what the function it gives is told."""

    @contextmanager
    def limited(room: int | None = None) -> Iterator[Callable[[int], None]]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

        def shrink(to: int) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (to, hard))

        try:
            if room is not None:
                shrink(room)
            yield shrink
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
