# SPDX-License-Identifier: Apache-2.0
"""`selfocc prepare`: words for people, JSON for programs, one sentence for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recorded_drives import write_drive

from selfocc_ros.cli import main

pytest.importorskip("pyarrow", reason="pyarrow is not installed")


def test_a_drive_becomes_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag, out = write_drive(tmp_path / "drive"), tmp_path / "dataset"
    assert main(["prepare", str(bag), "--out", str(out), "--json", str(tmp_path / "summary.json")]) == 0
    assert capsys.readouterr().out.startswith("20 samples of 1 drive, 3 cameras: 20 for training")
    assert json.loads((tmp_path / "summary.json").read_text())["samples"] == 20
    assert {"images", "index.parquet", "dataset.json", "layout.yaml", "report.html"} <= {p.name for p in out.iterdir()}


@pytest.mark.fault
def test_fault_no_odometry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_drive(tmp_path / "drive", odometry=False)
    assert main(["prepare", str(bag), "--out", str(tmp_path / "dataset")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"selfocc: {bag} cannot be trained on without odometry")
    assert error.count("\n") == 1


@pytest.mark.fault
def test_fault_one_of_two_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    still, good = write_drive(tmp_path / "still", odometry=False), write_drive(tmp_path / "good")
    assert main(["prepare", str(still), str(good), "--out", str(tmp_path / "dataset")]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1].startswith(f"selfocc: {still} cannot be trained on without odometry")
    assert told.out.startswith("20 samples of 1 drive, 3 cameras: 20 for training, 0 for validation, 0 between")
    assert f"\nrefused: {still} cannot be trained on" in told.out
