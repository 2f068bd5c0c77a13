# SPDX-License-Identifier: Apache-2.0
"""Labels of town clips: class maps with and without mistakes, voxels that cameras see, and files of their own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from small_networks import FAST, write_network

from selfocc_ros.cli.train import _town_clips
from selfocc_ros.configuration import ConfigError
from selfocc_ros.geometry.voxels import OCC3D, OCC3D_CLASSES
from selfocc_ros.town.objects import Label
from selfocc_training.config import DataConfig, LossConfig, TrainConfig, load_train_config
from selfocc_training.town_clips import Clip, ClipPlan, clip_path, load_clip, render_clip, save_clip
from selfocc_training.town_labels import with_channels

PLAN = ClipPlan(frames=1, width=64, height=48, render_width=96, surround_share=1.0)
LABELLED = dataclasses.replace(PLAN, class_maps=True, voxels=True)
GROUND = (Label.DRIVEABLE_SURFACE, Label.OTHER_FLAT, Label.SIDEWALK, Label.TERRAIN)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render_clip(3, 0, LABELLED)


def test_labels_change_nothing_else(clip: Clip) -> None:
    plain = render_clip(3, 0, PLAN)
    assert plain.labels is None
    assert plain.voxels is None
    assert np.array_equal(plain.images, clip.images)


def test_class_maps_know_surfaces_alone(clip: Clip) -> None:
    assert clip.labels is not None
    assert clip.labels.shape == clip.images[:, :, 0].shape
    assert Label.FREE not in clip.labels
    assert {Label.DRIVEABLE_SURFACE, Label.MANMADE} <= set(clip.labels.flat)
    assert np.isin(clip.labels[:, :, -12:], [*GROUND, 255]).mean() > 0.5  # what is below shows ground


def test_voxels_that_no_camera_sees_are_unknown(clip: Clip) -> None:
    assert clip.voxels is not None
    assert clip.voxel_grid == OCC3D
    seen = clip.voxels[0] != 255
    assert 0.03 < seen.mean() < 0.5
    assert clip.voxel_free == Label.FREE
    heights = OCC3D.centres()[..., 2]
    ground = np.isin(clip.voxels[0], GROUND)
    assert np.abs(heights[ground]).mean() < 1.0
    assert not seen[heights < -0.9].any()  # under the road near the vehicle


def test_a_share_of_class_maps_is_wrong(clip: Clip) -> None:
    noisy = render_clip(3, 0, dataclasses.replace(PLAN, class_maps=True, class_noise=0.1))
    assert noisy.labels is not None
    assert clip.labels is not None
    assert 0.05 < (noisy.labels != clip.labels).mean() < 0.15


def test_files_of_labelled_clips_are_their_own(clip: Clip, tmp_path: Path) -> None:
    noisy = dataclasses.replace(LABELLED, class_noise=0.1)
    voxels = dataclasses.replace(PLAN, voxels=True)
    assert len({clip_path(tmp_path, 3, 0, plan) for plan in (PLAN, LABELLED, noisy, voxels)}) == 4
    save_clip(tmp_path / "clip.npz", clip)
    again = load_clip(tmp_path / "clip.npz")
    assert again.voxel_grid == OCC3D
    assert np.array_equal(again.labels if again.labels is not None else 0, clip.labels)


def test_labels_are_matched_to_a_network_by_name(clip: Clip) -> None:
    """Classes in another order, `car` on two channels, one that the town does not have and some that are missing."""
    assert clip.labels is not None
    assert clip.voxels is not None
    wanted = ("vegetation", "manmade", "car", "boat", "car", "driveable_surface")
    mapped = with_channels(clip, wanted, Path("clips"))
    assert mapped.labels is not None
    assert mapped.voxels is not None
    assert mapped.voxel_free == 6
    for found, was in ((mapped.labels, clip.labels), (mapped.voxels, clip.voxels)):
        names = np.array([*wanted, "free", *[""] * 249])[found]
        before = np.array([*OCC3D_CLASSES, "free", *[""] * 238])[was]
        assert np.array_equal(names, np.where(np.isin(before, [*wanted, "free"]), before, ""))
    assert (mapped.labels == 1).any()
    assert np.array_equal(mapped.images, clip.images)


def test_training_gets_the_labels_of_its_network(clip: Clip, tmp_path: Path) -> None:
    data = DataConfig(first_seed=3, seeds=1, clip=PLAN, class_maps=True, voxel_labels=True)
    save_clip(clip_path(tmp_path, 3, 0, data.town_plan()), clip)
    classes = list(reversed(OCC3D_CLASSES))
    network = write_network(tmp_path / "small.yaml", {**FAST, "head": {"classes": classes}})
    loss = LossConfig(semantic=0.1, voxels=1.0)
    (got,), source = _town_clips(TrainConfig(model=str(network), data=data, loss=loss), tmp_path, 1, True)
    assert source == "town drives, seeds 3 to 3, class maps (0% wrong), true voxels that the cameras see"
    wanted = with_channels(clip, classes, tmp_path)
    assert np.array_equal(got.labels if got.labels is not None else 0, wanted.labels)
    assert np.array_equal(got.voxels if got.voxels is not None else 0, wanted.voxels)
    assert not np.array_equal(wanted.labels if wanted.labels is not None else 0, clip.labels)


def test_labels_that_no_loss_reads_are_neither_kept_nor_told(clip: Clip, tmp_path: Path) -> None:
    data = DataConfig(first_seed=3, seeds=1, clip=PLAN, class_maps=True, voxel_labels=True)
    save_clip(clip_path(tmp_path, 3, 0, data.town_plan()), clip)
    for loss, told in (
        (LossConfig(semantic=0.1), ", class maps (0% wrong)"),
        (LossConfig(semantic=0.1, voxels=1.0, render=False), ", true voxels that the cameras see"),
        (LossConfig(), ""),
    ):
        (got,), source = _town_clips(TrainConfig(data=data, loss=loss), tmp_path, 1, True)
        assert source == f"town drives, seeds 3 to 3{told}"
        assert (got.labels is not None) == ("maps" in told)
        assert (got.voxels is not None) == ("voxels" in told)


def test_the_two_runs_that_teach_classes_share_their_clips() -> None:
    plans = [load_train_config(f"tiny_semantic_{name}").data.town_plan() for name in ("town", "voxels")]
    assert len({clip_path(Path(), 100, 0, plan) for plan in plans}) == 1


def test_labels_stay_without_classes_and_so_do_distilled_voxels(clip: Clip) -> None:
    assert clip.voxels is not None
    unnamed = with_channels(clip, (), Path("clips"))
    assert np.array_equal(unnamed.voxels if unnamed.voxels is not None else 0, clip.voxels)
    distilled = dataclasses.replace(clip, voxels=np.minimum(clip.voxels, 1), voxel_free=1)
    mapped = with_channels(distilled, tuple(reversed(OCC3D_CLASSES)), Path("clips"), voxels=False)
    assert mapped.voxels is distilled.voxels
    assert mapped.voxel_free == 1
    assert mapped.labels is not None
    assert (mapped.labels == 16 - Label.DRIVEABLE_SURFACE).any()


def test_a_network_without_any_of_the_towns_classes_learns_from_images_alone(clip: Clip) -> None:
    with pytest.raises(ConfigError, match=r"^clips has none of the network's classes \(boat\)"):
        with_channels(clip, ("boat",), Path("clips"))
    plain = dataclasses.replace(clip, labels=None, voxels=None)
    assert with_channels(plain, ("boat",), Path("clips")) is plain


def test_a_run_asks_for_labels() -> None:
    data = DataConfig(clip=PLAN, class_maps=True, class_noise=0.2, voxel_labels=True)
    assert data.town_plan() == dataclasses.replace(PLAN, class_maps=True, class_noise=0.2, voxels=True)
    assert DataConfig(clip=PLAN).town_plan() == PLAN
