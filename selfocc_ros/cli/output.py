# SPDX-License-Identifier: Apache-2.0
"""What commands leave behind: `--json FILE`, with `-` for standard output, and folders."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfocc_ros.errors import SelfOccError


def write_json(target: str, values: Mapping[str, Any]) -> None:
    """Write values as indented JSON to a file, making its folder, or to standard output (`-`).

    Raises:
        SelfOccError: if the file cannot be written.
    """
    text = json.dumps(values, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    path = Path(target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SelfOccError(f"{target}: cannot be written ({error.strerror}).") from error


def make_folder(path: Path, option: str) -> Path:
    """The folder that ``option`` names, made if it is not there.

    Raises:
        SelfOccError: if it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SelfOccError(f"{option} {path}: cannot be made ({error.strerror})") from error
    return path
