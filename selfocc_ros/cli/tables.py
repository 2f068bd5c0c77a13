# SPDX-License-Identifier: Apache-2.0
"""Small tables of scores with their baselines beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

CLASS_FIGURES = ("miou", "miou_15")
FIGURES = ("iou", "iou_above_ground", "abs_rel", "abs_rel_above_ground")
ERRORS = ("abs_rel", "sq_rel", "rmse")
COLUMNS = {"": "network", "_flat_ground": "flat ground", "_blind": "blind"}


def score_table(values: Mapping[str, Any], rows: Sequence[str] = FIGURES) -> str:
    """Rows of figures, columns for the network and its baselines; what is missing is a dash.

    Args:
        values: figures by name, with the suffixes of COLUMNS.
        rows: the names without suffix; those of errors (abs_rel, sq_rel, rmse...) are better when lower.
    """
    width = max(len(row) for row in rows) + 2
    lines = [" " * width + "".join(f"{title:>13}" for title in COLUMNS.values()) + "   better"]
    for row in rows:
        cells = "".join(f"{_cell(values.get(row + suffix)):>13}" for suffix in COLUMNS)
        lines.append(f"{row:<{width}}{cells}   {'lower' if is_error(row) else 'higher'}")
    return "\n".join(lines)


def is_error(figure: str) -> bool:
    """Whether a figure is better when it is lower."""
    return any(error in figure for error in ERRORS)


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with None in place of NaN and infinity, which JSON does not know."""
    return {key: _finite(value) for key, value in values.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return finite(value)
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cell(value: Any) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"
