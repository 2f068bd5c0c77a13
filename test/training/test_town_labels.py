# SPDX-License-Identifier: Apache-2.0
"""Labels of town clips: class maps with and without mistakes, voxels that cameras see, and files of their own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from selfocc_ros.geometry.voxels import OCC3D
from selfocc_ros.town.objects import Label
from selfocc_training.config import DataConfig
from selfocc_training.town_clips import Clip, ClipPlan, clip_path, load_clip, render_clip, save_clip

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


def test_a_run_asks_for_labels() -> None:
    data = DataConfig(clip=PLAN, class_maps=True, class_noise=0.2, voxel_labels=True)
    assert data.town_plan() == dataclasses.replace(PLAN, class_maps=True, class_noise=0.2, voxels=True)
    assert DataConfig(clip=PLAN).town_plan() == PLAN
