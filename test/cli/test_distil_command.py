# SPDX-License-Identifier: Apache-2.0
"""`selfocc distil`: labels beside clips and in datasets, gone on with where they are, one sentence for bad input."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from recorded_drives import write_drive
from small_networks import with_cells

from selfocc_ros.cli import find_training, main
from selfocc_ros.configuration import ConfigError
from selfocc_ros.model.checkpoint import save_checkpoint
from selfocc_ros.model.config import parse_model_config
from selfocc_ros.model.families import build_network

find_training()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A checkpoint of a network for images of 64x48 pixels."""
    path = tmp_path / "small.safetensors"
    save_checkpoint(path, build_network(parse_model_config(with_cells(20, 20, 5), "test")), {"note": "random weights"})
    return path


def test_a_dataset_gets_voxels_that_training_reads(
    tmp_path: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from selfocc_training.dataset.dataset import Dataset

    root = tmp_path / "dataset"
    assert main(["prepare", str(write_drive(tmp_path / "drive")), "--out", str(root)]) == 0
    command = ["distil", str(small), "--data", str(root), "--spacing", "2"]
    assert main([*command, "--json", str(tmp_path / "told.json")]) == 0
    dataset = Dataset.open(root)
    chosen = dataset.indices("train")
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["labelled"], told["kept"]) == (len(chosen), 0)
    assert told["provenance"]["spacing_m"] == 2.0
    voxels = dataset.voxels(int(chosen[0]))
    assert voxels is not None
    assert (voxels.classes, voxels.free) == (("occupied",), 1)
    assert 0 < np.mean(voxels.label == 255) < 1
    capsys.readouterr()
    assert main(command) == 0
    assert f"0 samples labelled, {len(chosen)} were there" in capsys.readouterr().out
    assert main(["distil", str(small), "--data", str(root), "--decay", "3"]) == 2
    assert "--overwrite replaces them" in capsys.readouterr().err


def test_town_clips_get_voxels_that_training_reads(
    tmp_path: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from selfocc_ros.cli.train import _labels_by, _town_clips
    from selfocc_training.config import DataConfig, LossConfig, TrainConfig
    from selfocc_training.distil.provenance import DistilError
    from selfocc_training.town_clips import ClipPlan

    plan = ClipPlan(frames=2, width=64, height=48, render_width=96, surround_share=1.0)
    data = DataConfig(distilled=True, first_seed=3, seeds=1, clip=plan)
    config = TrainConfig(data=data, loss=LossConfig(voxels=1.0))
    with pytest.raises(DistilError, match="`selfocc distil CHECKPOINT --clips"):
        _town_clips(config, tmp_path, 1, True)
    assert main(["distil", str(small), "--clips", str(tmp_path), "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    (clip,), _ = _town_clips(config, tmp_path, 1, True)
    assert _labels_by(config, tmp_path) == f"small.safetensors {told['provenance']['fingerprint']}"
    assert clip.voxels is not None
    assert clip.voxels.shape == (2, 20, 20, 5)
    assert told["unknown"] == pytest.approx((clip.voxels == 255).mean())
    with pytest.raises(ConfigError, match=r"data\.voxel_labels alone"):
        dataclasses.replace(data, dataset="somewhere")


@pytest.mark.fault
def test_fault_no_clips(tmp_path: Path, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distil", str(small), "--clips", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert "holds no clips" in error
    assert error.count("\n") == 1
