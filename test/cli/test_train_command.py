# SPDX-License-Identifier: Apache-2.0
"""`selfocc train` on a prepared recording: from weights of another run, on after a stop, one sentence for bad input."""

from __future__ import annotations

import dataclasses
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import with_cells, write_network

from selfocc_ros.cli import main, step_progress
from selfocc_ros.cli.train import _recorded_clips
from selfocc_ros.configuration import ConfigError
from selfocc_ros.model.checkpoint import load_checkpoint, read_info
from selfocc_ros.town.rigs import RigSpec, load_rig
from selfocc_ros.town.write import write_drive
from selfocc_training.config import DataConfig, load_train_config
from selfocc_training.dataset.clips import DatasetClips
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.prepare import prepare
from selfocc_training.steps import draw_step
from selfocc_training.town_clips import ClipPlan
from selfocc_training.trainer import check_clip_size

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

MODEL = {**with_cells(40, 40, 10), "decision": {"thresholds": [0.3]}}

TRAIN = """
model: MODEL
warmup: 2
bfloat16: false
data:
  clip: {frames: 6, spacing_m: 0.3, width: 64, height: 48}
  current_views: 1
  anchor_views: 1
  anchor_reach: 1
  widest_gap: 1
  grid: [6, 8]
loss: {background_from: 0}
"""


def plan(frames: int = 6, spacing_m: float = 0.3, widest_gap: int = 1) -> DataConfig:
    return DataConfig(
        clip=ClipPlan(frames, spacing_m, 64, 48), current_views=1, anchor_views=1, widest_gap=widest_gap, grid=(6, 8)
    )


def _two_cameras() -> dict[str, Any]:
    values = load_rig("surround6").to_dict()
    chosen = list(values["cameras"].items())[:2]
    return {**values, "cameras": {name: {**camera, "width": 64, "height": 36} for name, camera in chosen}}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.5 s of a drive through a town, seen by two cameras, as `selfocc prepare` leaves it."""
    folder = tmp_path_factory.mktemp("recording")
    bag = write_drive(5, 1.5, RigSpec.from_dict(_two_cameras()), folder / "town")
    prepare([bag], folder / "dataset")
    return folder / "dataset"


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """A configuration of a shrunken network."""
    write_network(tmp_path / "small.yaml", MODEL)
    path = tmp_path / "train.yaml"
    path.write_text(TRAIN.replace("MODEL", str(tmp_path / "small.yaml")))
    return path


def train(config: Path, dataset: Path, out: Path, steps: int) -> Path:
    assert main(["train", str(config), "--data", str(dataset), "--out", str(out), "--steps", str(steps)]) == 0
    return out / "small.safetensors"


def test_a_recording_trains_and_a_stopped_run_goes_on(
    configured: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_self: object, step: int, _terms: dict[str, float], _left_s: float) -> None:
        if step == 1:
            signal.raise_signal(signal.SIGINT)

    straight = train(configured, dataset, tmp_path / "straight", 3)
    command = ["train", str(configured), "--data", str(dataset), "--out", str(tmp_path / "resumed"), "--steps", "3"]
    with monkeypatch.context() as stopping:
        stopping.setattr(step_progress.StepProgress, "__call__", stop)
        assert main(command) == 128 + signal.SIGINT
    resumed = train(configured, dataset, tmp_path / "resumed", 3)
    info = read_info(straight)
    assert info.config.decision.thresholds == (0.3,)  # nobody could have chosen others
    assert info.scores == {}
    assert info.provenance["data"].startswith(f"dataset {dataset}: ")
    assert info.provenance["data"].endswith(" clips of town")
    assert "start" not in info.provenance
    weights = load_checkpoint(resumed)[0].state_dict()
    for name, value in load_checkpoint(straight)[0].state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_a_folder_of_another_run_is_refused_before_drives_are_rendered(
    configured: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(configured, dataset, tmp_path / "out", 1)
    capsys.readouterr()
    assert main(["train", "tiny_town", "--out", str(tmp_path / "out")]) == 2
    assert "state.pt is of another run: " in capsys.readouterr().err
    assert not (tmp_path / "out" / "clips").exists()


def test_another_dataset_in_the_folder_of_a_run_is_refused_and_the_same_one_elsewhere_is_not(
    configured: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = train(configured, dataset, tmp_path / "out", 1)
    written = checkpoint.stat().st_mtime_ns
    moved = Path(shutil.copytree(dataset, tmp_path / "moved"))
    train(configured, moved, tmp_path / "out", 1)
    assert checkpoint.stat().st_mtime_ns > written  # a run that was killed at its end is brought to it
    rig = RigSpec.from_dict(_two_cameras())
    prepare([write_drive(6, 1.0, rig, tmp_path / "town")], tmp_path / "other")
    capsys.readouterr()
    command = ["train", str(configured), "--data", str(tmp_path / "other"), "--out", str(tmp_path / "out")]
    assert main([*command, "--steps", "1"]) == 2
    error = capsys.readouterr().err
    assert re.search(
        r"state\.pt is of another run: drives was \('town .* and is \('town .*; choose another --out", error
    )


@pytest.mark.fault
def test_fault_without_a_cache_training_goes_on_and_says_so_once(
    configured: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy, ignore=shutil.ignore_patterns("cache"))
    (copy / "cache").write_text("a file where the folder would be")
    train(configured, copy, tmp_path / "out", 2)
    assert capsys.readouterr().err.count("takes no more images at the network's size") == 1


def test_training_starts_from_a_checkpoint_of_the_same_architecture(
    configured: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(configured, dataset, tmp_path / "first", 2)
    write_network(tmp_path / "small.yaml", {**MODEL, "decision": {"thresholds": [0.1]}})
    configured.write_text(configured.read_text() + f"start: {first}\nlearning_rate: 0.0\n")
    second = train(configured, dataset, tmp_path / "second", 1)
    info = read_info(second)
    assert info.provenance["start"].startswith(f"{first} (dataset {dataset}: ")
    assert info.config.decision.thresholds == (0.3,)
    weights = load_checkpoint(second)[0].state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in load_checkpoint(first)[0].state_dict().items())

    write_network(tmp_path / "small.yaml", with_cells(48, 40, 10))
    capsys.readouterr()
    assert main(["train", str(configured), "--data", str(dataset), "--out", str(tmp_path / "third")]) == 2
    error = capsys.readouterr().err
    assert error.endswith("is of another architecture than network small: they differ in field.\n")
    assert error.count("\n") == 1


def test_without_towns_and_without_a_dataset_there_is_nothing_to_train_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_train_config("tiny_recording")
    check_clip_size(config)  # the shipped checkpoint fits
    assert main(["train", "tiny_recording", "--out", str(tmp_path)]) == 2
    assert "there is nothing to train on: data.seeds is 0" in capsys.readouterr().err


def test_clips_overlap_by_half_and_are_shorter_on_a_short_drive(dataset: Path) -> None:
    opened = Dataset.open(dataset)
    clips = DatasetClips(opened, plan(frames=4))
    assert len(clips) > 2
    assert {len(cut) for cut in clips.indices} == {4}
    assert clips.indices[0][2] == clips.indices[1][0]
    assert np.all(np.diff(opened.distance_m[clips.indices[0]]) >= 0.3)
    (short,) = DatasetClips(opened, plan(frames=100)).indices
    assert 3 <= len(short) < 100


def test_samples_that_lie_too_far_apart_are_told(
    configured: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened, config = Dataset.open(dataset), load_train_config(str(configured), dataset=str(dataset))
    metres = DatasetClips(opened, plan()).spacing_m
    assert metres == pytest.approx(np.median(np.diff(opened.distance_m)), rel=0.2)
    for spacing_m in (0.6 * metres, 0.4 * metres):
        clip = dataclasses.replace(config.data.clip, spacing_m=spacing_m)
        _recorded_clips(dataclasses.replace(config, data=dataclasses.replace(config.data, clip=clip)))
        told = f"samples lie {metres:.1f} m apart" in capsys.readouterr().err
        assert told == (spacing_m < 0.5 * metres)


def test_memory_stays_bounded_and_what_was_dropped_comes_back(dataset: Path) -> None:
    clips = DatasetClips(Dataset.open(dataset), plan(frames=3), kept_bytes=1)
    first = clips[0]
    assert clips[0] is first
    assert clips[1] is not first
    again = clips[0]
    assert again is not first
    assert np.array_equal(again.images, first.images)
    assert clips[-1].images.shape == (3, 2, 3, 48, 64)


def test_too_short_a_drive_is_told_with_its_metres(dataset: Path) -> None:
    with pytest.raises(ConfigError, match=r"drive town is too short to train on: \d+\.\d m .* 11 samples 5 m apart"):
        DatasetClips(Dataset.open(dataset), plan(frames=11, spacing_m=5.0, widest_gap=5))
    with pytest.raises(ConfigError, match=r"data\.clip\.frames must be at least 7 with data\.widest_gap 3, found 6"):
        DatasetClips(Dataset.open(dataset), plan(frames=6, widest_gap=3))


def test_steps_are_drawn_mirrored_masked_and_with_sources_of_other_clips(dataset: Path) -> None:
    opened = Dataset.open(dataset)
    clips = [*DatasetClips(opened, plan(frames=6)), *DatasetClips(opened, plan(frames=3))]
    masked = [dataclasses.replace(clip, ego_mask=np.zeros((2, 48, 64), bool)) for clip in clips]
    data = dataclasses.replace(plan(), shuffle_sources=True)
    for number in range(12):
        step = draw_step(masked, number, 0, data)
        assert step.views.use is not None
        assert not step.views.use.any()
        assert torch.isfinite(step.images).all()
