# SPDX-License-Identifier: Apache-2.0
"""`selfocc evaluate` on a prepared dataset: table, JSON and report, and errors in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from selfocc_ros.cli import main


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short drive with voxel labels of a flat road on one sample."""
    pytest.importorskip("pyarrow")
    from recorded_drives import write_drive

    from selfocc_ros.geometry.voxels import OCC3D
    from selfocc_training.dataset.dataset import Dataset
    from selfocc_training.dataset.labels import LabelNames, save_label_names, voxels_path, write_voxels
    from selfocc_training.dataset.prepare import prepare
    from selfocc_training.metrics.occ3d import CLASS_NAMES

    folder = tmp_path_factory.mktemp("evaluate")
    root = folder / "dataset"
    prepare([write_drive(folder / "drive", seconds=1.0)], root)
    save_label_names(root, LabelNames(CLASS_NAMES[:17], 17, OCC3D))
    label = np.full(OCC3D.shape, 17, np.uint8)
    label[:, :, 2] = 11
    sample = Dataset.open(root)[3]
    write_voxels(voxels_path(root, sample.drive, sample.stamp_ns), label)
    return root


def test_table_figures_and_report(
    tmp_path: Path, untrained: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(untrained), str(dataset), "--protocol", "occ3d", "--device", "cpu", "--no-blind"]
    command += ["--stride", "16", "--json", str(tmp_path / "a.json"), "--report", str(tmp_path / "report")]
    assert main(command) == 0
    words = capsys.readouterr().out
    for word in ("network", "flat ground", "iou_above_ground", "no classes", "no validation split"):
        assert word in words
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["samples"] == 1
    assert result["iou_flat_ground"] == 1.0
    assert result["iou_above_ground"] is None or result["iou_above_ground"] >= 0.0
    assert result["settings"]["protocol"] == "occ3d"
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--protocol", "depth"], "no depth maps"),
        (["--protocol", "lidar"], "holds no LiDAR"),
        (["--protocol", "occ3d", "--split", "val"], "no samples of split 'val'"),
        (["--protocol", "town"], "takes no dataset"),
        ([], "--protocol"),
        (["--protocol", "depth", "--min-depth", "9", "--max-depth", "3"], "--min-depth"),
        (["--protocol", "depth", "--stride", "0"], "--stride"),
    ],
)
def test_fault_bad_input_is_one_sentence(
    arguments: list[str], said: str, untrained: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(untrained), str(dataset), "--device", "cpu", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("selfocc: ")
    assert said in error
    assert error.count("\n") == 1


def test_fault_a_protocol_without_its_dataset(untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(untrained), "--protocol", "rayiou"]) == 2
    assert "needs a dataset" in capsys.readouterr().err
