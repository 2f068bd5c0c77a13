# SPDX-License-Identifier: Apache-2.0
"""Labels of clips: made from images and poses alone, kept beside the clips, and picked up again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import with_cells

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.model.config import ModelConfig, parse_model_config
from selfocc_ros.model.selfocc import build_model
from selfocc_training.dataset.labels import LabelNames, load_label_names, save_label_names
from selfocc_training.distil.clip_files import (
    clip_files,
    clip_moments,
    distil_clip,
    load_labelled_clip,
    save_voxels,
    voxels_path,
)
from selfocc_training.distil.config import FusionConfig
from selfocc_training.distil.labels import FREE, OCCUPIED, UNKNOWN
from selfocc_training.distil.provenance import DistilError, claim, label_names
from selfocc_training.distil.teacher import Teacher
from selfocc_training.steps import mirror_clip
from selfocc_training.town_clips import Clip, save_clip

GRID = VoxelGrid((-8, -8, -1), (8, 8, 3), (40, 40, 10))
SMALL = with_cells(*GRID.shape)


def teacher(ground_z: float = 0.0, **changes: Any) -> Teacher:
    torch.manual_seed(0)
    config = parse_model_config({**SMALL, **changes}, "test")
    assert isinstance(config, ModelConfig)
    return Teacher(build_model(config), "cpu", ground_z)


def test_a_network_that_starts_as_flat_ground_labels_flat_ground(ground_clip: Clip) -> None:
    labels = distil_clip(teacher(), ground_clip, FusionConfig())
    assert labels.shape == (7, *GRID.shape)
    assert set(np.unique(labels)) == {OCCUPIED, FREE, UNKNOWN}
    known = labels != UNKNOWN
    assert (labels[:, :, :, 1] == OCCUPIED)[known[:, :, :, 1]].mean() > 0.95
    assert (labels[:, :, :, 5] == FREE)[known[:, :, :, 5]].mean() > 0.95
    # No camera looks down through the floor or up.
    assert not known[:, :, :, 9].any()


def test_ground_below_base_link_moves_the_labels_with_it(ground_clip: Clip) -> None:
    lifted = np.eye(4)
    lifted[2, 3] = 0.7
    raised = Clip(**{**vars(ground_clip), "odom_from_base": ground_clip.odom_from_base @ lifted})
    plain, moved = teacher(), teacher(ground_z=-0.7)
    assert moved.grid == GRID.shifted(-0.7)
    assert np.array_equal(distil_clip(plain, ground_clip, FusionConfig()), distil_clip(moved, raised, FusionConfig()))


def test_a_clip_is_a_drive(ground_clip: Clip) -> None:
    moments = clip_moments(ground_clip)
    assert np.allclose([moment.travelled_m for moment in moments], 0.6 * np.arange(7))
    seen = moments[3].see()
    assert np.array_equal(seen.images, ground_clip.images[3].transpose(0, 2, 3, 1))


def test_labels_are_picked_up_with_their_clip_and_mirrored(tmp_path: Path, ground_clip: Clip) -> None:
    path = tmp_path / "clip_0_00001_0.npz"
    save_clip(path, ground_clip)
    with pytest.raises(DistilError, match="selfocc distil CHECKPOINT"):
        load_labelled_clip(path)
    labels = np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), (7, *GRID.shape))
    save_voxels(voxels_path(path), labels, GRID)
    assert clip_files(tmp_path) == [path]
    clip = load_labelled_clip(path)
    assert clip.voxels is not None
    assert np.array_equal(clip.voxels, labels)
    assert (clip.voxel_grid, clip.voxel_free) == (GRID, FREE)
    assert np.array_equal(clip.images, ground_clip.images)
    mirrored = mirror_clip(clip)
    assert mirrored.voxels is not None
    assert np.array_equal(mirrored.voxels, labels[:, :, ::-1])
    assert mirrored.voxel_grid == GRID


@pytest.mark.fault
def test_fault_no_clips_and_clips_of_another_size(tmp_path: Path, ground_clip: Clip) -> None:
    with pytest.raises(DistilError, match="holds no clips"):
        clip_files(tmp_path)
    with pytest.raises(DistilError, match="takes images of 64x64 pixels, the clip's are 64x48"):
        distil_clip(teacher(input={"width": 64, "height": 64}), ground_clip, FusionConfig())


def test_labels_of_the_same_provenance_are_gone_on_with(tmp_path: Path) -> None:
    names = label_names(GRID)
    assert not claim(tmp_path, names, {"a": 1}, overwrite=False)
    assert load_label_names(tmp_path) == names
    assert claim(tmp_path, names, {"a": 1}, overwrite=False)
    assert not claim(tmp_path, names, {"a": 1}, overwrite=True)
    with pytest.raises(DistilError, match="--overwrite"):
        claim(tmp_path, names, {"a": 2}, overwrite=False)
    assert not claim(tmp_path, names, {"a": 2}, overwrite=True)


@pytest.mark.parametrize("place", ["clip_0_00001_{}.voxels.npz", "voxels/drive/{}.npz"])
def test_labels_that_are_replaced_never_pass_for_the_new_ones(tmp_path: Path, place: str) -> None:
    """Overwriting is stopped after the first of two files."""
    names, others = label_names(GRID), label_names(GRID.shifted(1.0))
    files = [tmp_path / place.format(stamp) for stamp in (1, 2)]
    files[0].parent.mkdir(parents=True, exist_ok=True)
    clip = tmp_path / "clip_0_00001_1.npz"
    clip.write_text("clip")
    claim(tmp_path, names, {"a": 1}, overwrite=False)
    for file in files:
        file.write_text("old")
    assert not claim(tmp_path, others, {"a": 2}, overwrite=True)
    files[0].write_text("new")
    (tmp_path / "labels.yaml").unlink()  # as if stopped before it was written
    assert claim(tmp_path, others, {"a": 2}, overwrite=False)
    assert load_label_names(tmp_path) == others
    assert [file.read_text() for file in files if file.is_file()] == ["new"]
    assert clip.read_text() == "clip"


@pytest.mark.fault
def test_fault_true_labels_are_never_replaced(tmp_path: Path) -> None:
    save_label_names(tmp_path, LabelNames(("car", "road"), 2, GRID))
    with pytest.raises(DistilError, match="not distilled"):
        claim(tmp_path, label_names(GRID), {}, overwrite=True)
    with pytest.raises(DistilError, match="cubes"):
        label_names(VoxelGrid((0, 0, 0), (1, 1, 1), (2, 2, 1)))
