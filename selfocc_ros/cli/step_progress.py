# SPDX-License-Identifier: Apache-2.0
"""Progress of training on standard error: a bar with the terms on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import Any

QUIET_S = 30.0
"""Seconds between lines where nobody watches."""


class StepProgress:
    """`progress(step, terms, left_s)` after each step, `close()` at the end."""

    def __init__(self, first: int, total: int) -> None:
        """Steps ``first`` to ``total`` are to be done."""
        self._total = total
        self._bar: Any = None
        if sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=first, unit="step", dynamic_ncols=True)
        self._told = time.monotonic()

    def __call__(self, step: int, terms: dict[str, float], left_s: float) -> None:
        """Show the terms of a step."""
        text = "  ".join(f"{name} {value:.4f}" for name, value in terms.items())
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
        elif step >= self._total or time.monotonic() - self._told >= QUIET_S:
            self._told = time.monotonic()
            print(f"step {step}/{self._total}  {text}  {left_s / 60:.1f} min left", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.close()
