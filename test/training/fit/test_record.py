# SPDX-License-Identifier: Apache-2.0
"""Curve and state of an interrupted run: nothing twice, nothing torn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from selfocc_training.fit import state
from selfocc_training.fit.record import Record
from selfocc_training.fit.state import load_state, save_state


def test_a_curve_goes_on_from_the_saved_step(tmp_path: Path) -> None:
    first = Record(tmp_path, 0)
    for step in (20, 40, 60):
        first.scalars(step, {"loss": 1.0 / step})
    first.close()
    with (tmp_path / "curve.jsonl").open("a") as stream:
        stream.write('{"step": 80, "lo')  # killed here
    second = Record(tmp_path, 40)
    second.scalars(60, {"loss": 0.5})
    second.close()
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [row["step"] for row in curve] == [20, 40, 60]
    assert curve[-1]["loss"] == 0.5


def test_a_save_that_fails_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.pt"
    save_state(path, {"step": 3, "weights": torch.ones(4)})

    def torn(_state: Any, stream: Any) -> None:
        stream.write(b"PK")
        raise OSError("no space left on device")

    monkeypatch.setattr(state.torch, "save", torn)
    with pytest.raises(OSError, match="no space left"):
        save_state(path, {"step": 4})
    monkeypatch.undo()
    assert load_state(path)["step"] == 3
    save_state(path, {"step": 4})
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]
