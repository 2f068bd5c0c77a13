# SPDX-License-Identifier: Apache-2.0
"""Labels beside the images of a dataset: read by name, brought to the network's size, frame and classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from selfocc_ros.configuration import ConfigError
from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import pose_from_rpy
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_training.config import DataConfig
from selfocc_training.dataset.clip import ClipLabels
from selfocc_training.dataset.clip_labels import seen_labels, seen_mask, source_pixels
from selfocc_training.dataset.clips import DatasetClips
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.labels import (
    UNKNOWN,
    LabelNames,
    VoxelLabels,
    depth_pixels,
    mask_path,
    picture_path,
    read_voxels,
    save_label_names,
    voxels_path,
    write_picture,
    write_voxels,
)
from selfocc_training.town_clips import ClipPlan, load_clip, save_clip

GRID = VoxelGrid((-2.0, -2.0, -1.0), (2.0, 2.0, 1.0), (10, 10, 5))
NAMES = LabelNames(("road", "car", "tree"), 7, GRID)


@pytest.fixture
def labelled(prepared: Path, tmp_path: Path) -> Dataset:
    """The dataset of three cameras; sample 5 has voxels, its front camera class and depth maps, left has a mask."""
    root = tmp_path / "dataset"
    shutil.copytree(prepared, root)
    dataset = Dataset.open(root)
    assert dataset.label_names is None
    assert dataset.voxels(5) is None
    assert dataset.class_map(5, "front") is None
    sample = dataset[5]
    front = sample.image("front")
    assert front is not None
    save_label_names(root, NAMES)
    label = np.full(GRID.shape, 7, np.uint8)
    label[:, :, 0], label[6, 5, 2], label[0, 0, 4] = 0, 1, UNKNOWN
    write_voxels(voxels_path(root, sample.drive, sample.stamp_ns), label, {"mask_camera": label != UNKNOWN})
    classes = np.full((36, 64), 7, np.uint8)
    classes[18:], classes[20:30, 10:20] = 0, 1
    write_picture(picture_path(root, "classes", sample.drive, "front", front.stamp_ns), classes)
    depth = np.full((36, 64), np.inf)
    depth[30:, :] = 4.125
    write_picture(picture_path(root, "depth", sample.drive, "front", front.stamp_ns), depth_pixels(depth))
    use = np.full((36, 64), 255, np.uint8)
    use[30:] = 0
    write_picture(mask_path(root, "left"), use)
    return dataset


def test_labels_are_found_by_name_in_a_dataset_that_is_open(labelled: Dataset) -> None:
    names = labelled.label_names
    assert names == NAMES
    voxels = labelled.voxels(5)
    assert voxels is not None
    assert (voxels.classes, voxels.free, voxels.grid) == (NAMES.classes, 7, GRID)
    assert voxels.label[6, 5, 2] == 1
    assert voxels.mask_camera is not None
    assert voxels.mask_camera.sum() == 499
    assert voxels.mask_lidar is None
    assert np.array_equal(voxels.in_base(), voxels.label)
    depth = labelled.depth_map(5, "front")
    assert depth is not None
    assert np.unique(depth).tolist() == [0.0, 4.125]
    mask = labelled.ego_mask("left")
    assert mask is not None
    assert mask.sum() == 30 * 64
    assert labelled.voxels(4) is None
    assert labelled.class_map(5, "left") is None
    assert labelled.ego_mask("front") is None


def test_a_clip_gets_masks_class_maps_and_voxels(labelled: Dataset, tmp_path: Path) -> None:
    wished = ClipLabels(True, True, ("tree", "road", "bus"))
    clip = labelled.clip([4, 5], (32, 24), ("front", "left"), wished)
    assert clip.ego_mask is not None
    assert clip.ego_mask[0].all()
    assert clip.ego_mask[1, :14].all()
    assert not clip.ego_mask[1, 15:18].any()
    assert clip.labels is not None
    assert (clip.labels[0] == UNKNOWN).all()
    assert (clip.labels[1, 0, :9] == UNKNOWN).all()  # free space in an image is sky
    assert (clip.labels[1, 0, 16:18] == 1).all()  # road is the network's second class
    assert (clip.labels[1, 0, 11:14, 6:9] == UNKNOWN).all()  # the network knows no cars
    assert clip.voxels is not None
    assert (clip.voxels[0] == UNKNOWN).all()
    assert (clip.voxels[1, :, :, 0] == 1).all()
    assert clip.voxels[1, 6, 5, 2] == UNKNOWN
    assert clip.voxels[1, 3, 3, 3] == clip.voxel_free == 3
    save_clip(tmp_path / "clip.npz", clip)
    again = load_clip(tmp_path / "clip.npz")
    assert (again.voxel_grid, again.voxel_free) == (GRID, 3)
    assert np.array_equal(again.voxels, clip.voxels)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"none of the network's classes \(bus\): its labels are road, car, tree"):
        labelled.clip([5], (32, 24), ("front",), ClipLabels(True, classes=("bus",)))


def test_clips_of_a_configuration_carry_what_it_asks_for(labelled: Dataset) -> None:
    plan = ClipPlan(frames=3, spacing_m=0.9, width=32, height=24)
    plain = DatasetClips(labelled, DataConfig(clip=plan, widest_gap=1))[0]
    assert (plain.labels, plain.voxels) == (None, None)
    clips = DatasetClips(labelled, DataConfig(clip=plan, widest_gap=1, voxel_labels=True, class_maps=True))
    clip = clips[next(n for n, cut in enumerate(clips.indices) if 5 in cut)]
    assert clip.voxels is not None
    assert clip.voxel_free == 7
    assert (clip.voxels == 1).any()
    assert clip.nbytes > plain.nbytes


def test_voxels_of_another_stamp_are_moved_to_the_samples() -> None:
    label = np.full(GRID.shape, 7, np.uint8)
    label[5, 5, 2] = 1
    # The vehicle was 0.8 m further back when they were made: what lay at x = 0.2 m then lies at -0.6 m now.
    moved = pose_from_rpy((-0.8, 0.0, 0.0), 0.0, 0.0, 0.0)
    found = VoxelLabels(label, GRID, NAMES.classes, 7, None, None, None, moved).in_base()
    assert np.argwhere(found == 1).tolist() == [[3, 5, 2]]
    assert (found[8:] == UNKNOWN).all()
    turned = pose_from_rpy((0.0, 0.0, 0.0), 0.0, 0.0, np.pi / 2)
    found = VoxelLabels(label, GRID, NAMES.classes, 7, None, None, None, turned).in_base()
    assert np.argwhere(found == 1).tolist() == [[4, 5, 2]]


def test_labels_go_through_the_lens_as_pictures_do() -> None:
    fisheye = CameraModel(64, 48, np.array([[22.0, 0, 31.5], [0, 22.0, 23.5], [0, 0, 1]]), "equidistant", (0.0,) * 4)
    seen = fisheye.undistorted().resized(32, 24)
    places = source_pixels(fisheye, seen)
    labels = np.zeros((48, 64), np.uint8)
    labels[:, 32:] = 3
    found = seen_labels(labels, places)
    assert (found[:, :16] == 0).all()
    assert (found[:, 16:] == 3).all()
    # A point well off the axis: the lens shows it nearer to the middle than a pinhole does.
    direction = np.array([0.9, 0.3, 1.0])
    here, there = seen.project(direction)[0], fisheye.project(direction)[0]
    spot = np.zeros((48, 64), np.uint8)
    cv2.circle(spot, tuple(np.rint(there).astype(int).tolist()), 1, 9, -1)
    column, row = np.rint(here).astype(int)
    assert seen_labels(spot, places)[row, column] == 9
    use = np.ones((48, 64), np.bool_)
    use[40:] = False
    mask = seen_mask(use, places)
    assert mask[:12].all()
    assert not mask[-1, 8:24].any()


@pytest.mark.fault
def test_fault_labels_that_do_not_fit_are_told_in_one_sentence(labelled: Dataset, tmp_path: Path) -> None:
    root = labelled.root
    path = voxels_path(root, str(labelled.drives[5]), int(labelled.stamps_ns[5]))
    write_voxels(path, np.full(GRID.shape, 9, np.uint8))
    with pytest.raises(SelfOccError, match=r"has the label 9, which labels\.yaml has no class for"):
        labelled.voxels(5)
    write_voxels(path, np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(SelfOccError, match=r"'label' of uint8 \(10, 10, 5\), found uint8 of \(3, 3, 3\)"):
        labelled.voxels(5)
    path.write_bytes(b"PK")
    with pytest.raises(SelfOccError, match=r"cannot be read as an \.npz file"):
        labelled.voxels(5)
    front = labelled[5].image("front")
    assert front is not None
    write_picture(picture_path(root, "depth", "drive", "front", front.stamp_ns), np.zeros((5, 5), np.uint8))
    with pytest.raises(SelfOccError, match="must have one channel of uint16 of 64x36, found 1 of uint8 of 5x5"):
        labelled.depth_map(5, "front")
    write_picture(mask_path(root, "left"), np.zeros((5, 5), np.uint8))
    with pytest.raises(SelfOccError, match="the mask of camera 'left' is 5x5, but its images are 64x36"):
        labelled.clip([5], (32, 24))
    (root / "labels.yaml").write_text("classes: [road]\nfree: 3\n")
    with pytest.raises(SelfOccError, match="belongs to no grid"):
        read_voxels(path, labelled.label_names)  # type: ignore[arg-type]
    (root / "labels.yaml").write_text("klasses: [road]\n")
    with pytest.raises(SelfOccError, match="unknown key 'klasses'"):
        labelled.label_names  # noqa: B018
    (root / "labels.yaml").unlink()
    with pytest.raises(SelfOccError, match=r"has voxels, but no labels\.yaml"):
        labelled.voxels(5)
