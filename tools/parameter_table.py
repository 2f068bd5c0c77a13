# SPDX-License-Identifier: Apache-2.0
"""Writes the table of parameters in docs/node.md anew from `selfocc_ros.node_parameters`: run after a change there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfocc_ros.node_parameters import Option, options

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "node.md"
HEAD = "| parameter | default | what it does |"


def told(value: Any) -> str:
    """A default as YAML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(str(item) for item in value)}]" if value != ("auto",) else "auto"
    return str(value) if value != "" else '""'


def row(name: str, option: Option) -> str:
    """One parameter."""
    default = f"{told(option.default)} {option.unit}".strip()
    notes = []
    if option.choices:
        notes.append("one of " + ", ".join(option.choices))
    if option.low is not None and option.high is not None:
        notes.append(f"{option.low:g} to {option.high:g}")
    if option.live:
        notes.append("live")
    words = option.text.replace("<", "&lt;")  # Markdown takes <camera> for a tag
    text = words if not notes else f"{words} ({'; '.join(notes)})"
    return f"| `{name}` | {default} | {text} |"


def table() -> list[str]:
    """The lines of the table."""
    return [HEAD, "| --- | --- | --- |", *(row(name, option) for name, option in options().items())]


def replaced(text: str) -> str:
    """The document with the table as it has to be."""

    def lines() -> Iterator[str]:
        inside = False
        for line in text.splitlines():
            if line == HEAD:
                inside = True
                yield from table()
            inside = inside and line.startswith("|")
            if not inside:
                yield line

    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(replaced(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
