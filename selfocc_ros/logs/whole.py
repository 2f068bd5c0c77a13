# SPDX-License-Identifier: Apache-2.0
"""Small files that are there whole or not at all, also after a full disk or a power cut."""

from __future__ import annotations

import os
from pathlib import Path

PART = ".part"
"""Ends the names of files that are being written; what has it is of no use to anybody."""


def write_whole(path: Path, text: str) -> None:
    """Write a text file in place of what is there.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    part = path.with_name(path.name + PART)
    with part.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
