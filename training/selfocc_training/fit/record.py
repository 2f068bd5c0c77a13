# SPDX-License-Identifier: Apache-2.0
"""What a run leaves to look at: a learning curve as JSON lines, and TensorBoard's scalars and pictures."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CURVE = "curve.jsonl"
BOARD = "tensorboard"


class Record:
    """Curve and TensorBoard files in the folder of a run.

    After an interruption both go on from the saved step: what was recorded later is done anew.
    """

    def __init__(self, out: Path, step: int) -> None:
        """Go on in folder ``out`` after ``step`` steps."""
        self._curve = out / CURVE
        _cut(self._curve, step)
        self._board: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            # purge_step hides what an interrupted run wrote beyond its last saved state.
            self._board = SummaryWriter(str(out / BOARD), purge_step=step + 1 if step else None)

    @property
    def takes_pictures(self) -> bool:
        """Whether TensorBoard is installed."""
        return self._board is not None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write the terms of one step."""
        with self._curve.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **{name: round(value, 6) for name, value in values.items()}}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"train/{name}", value, step)
            self._board.flush()

    def pictures(self, step: int, pictures: Mapping[str, NDArray[np.uint8]]) -> None:
        """Write pictures (H, W, 3) uint8 RGB by name."""
        if self._board is not None:
            for name, picture in pictures.items():
                self._board.add_image(name, picture, step, dataformats="HWC")
            self._board.flush()

    def close(self) -> None:
        """Write what is still held."""
        if self._board is not None:
            self._board.close()


def _cut(path: Path, step: int) -> None:
    """Keep the rows of a curve up to ``step``; a line that was being written when the run was killed goes too."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and row.get("step", step + 1) <= step:
            kept.append(line + "\n")
    part = path.with_suffix(".part")
    part.write_text("".join(kept), encoding="utf-8")
    part.replace(path)
