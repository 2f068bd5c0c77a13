# SPDX-License-Identifier: Apache-2.0
"""A small dataset with labels whose right answers are known, and networks that give them."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.voxels import FREE, OCCUPIED, OccupancyVolume, VoxelGrid
from selfocc_ros.sensing.frames import RigSample
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.labels import (
    LabelNames,
    depth_pixels,
    picture_path,
    save_label_names,
    voxels_path,
    write_picture,
    write_voxels,
)
from selfocc_training.dataset.prepare import prepare
from selfocc_training.metrics.occ3d import CLASS_NAMES
from selfocc_training.metrics.town import flat_ground_depth

sys.path.append(str(Path(__file__).parents[2] / "logs"))

GRID = VoxelGrid((-8.0, -8.0, -0.8), (8.0, 8.0, 2.4), (20, 20, 4))
ROAD, WALL, FREE_LABEL = CLASS_NAMES.index("driveable_surface"), CLASS_NAMES.index("manmade"), 17
NAMES = LabelNames(CLASS_NAMES[:17], FREE_LABEL, GRID)
FAR_M = 12.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without pyarrow there is no dataset; installs for development have it."""
    if importlib.util.find_spec("pyarrow") is None:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="pyarrow is not installed"))


def labels_of(index: int) -> NDArray[np.uint8]:
    """(X, Y, Z) a road below, and on it a wall to the left of the vehicle early in the drive, to its right later."""
    label = np.full(GRID.shape, FREE_LABEL, np.uint8)
    label[:, :, 0] = ROAD
    label[:, 3 if index >= 15 else 16, 1:3] = WALL
    return label


@dataclass
class Toy:
    """A network that knows each sample by the stamps of its images, says what is true of it, and errs as it is told."""

    dataset: Dataset
    config: Any = field(default_factory=lambda: SimpleNamespace(grid=GRID, head=SimpleNamespace(classes=NAMES.classes)))
    ground_z: float = 0.0
    depth_factor: float = 1.0
    poses: list[NDArray[np.float64]] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    def predict(self, sample: RigSample) -> Any:
        stamps = {frame.stamp_ns for frame in sample.frames}
        own = [i for i in range(len(self.dataset)) if {im.stamp_ns for im in self.dataset[i].images} == stamps]
        self.seen += own
        label = labels_of(own[0])
        state = np.where(label != FREE_LABEL, OCCUPIED, FREE).astype(np.uint8)
        classes = np.where(label == FREE_LABEL, 0, label).astype(np.uint8)
        volume = OccupancyVolume(GRID, state, classes=classes, class_names=NAMES.classes)
        return SimpleNamespace(volume=volume, scene=None)

    def render_depth(
        self, prediction: Any, camera: CameraModel, base_from_camera: NDArray[np.float64], stride: int = 1
    ) -> NDArray[np.float32]:
        self.poses.append(base_from_camera)
        depth = flat_ground_depth(camera, base_from_camera, stride, far=FAR_M)
        return np.asarray(depth * self.depth_factor, np.float32)


def write_labels(root: Path, every: int = 5, depth: bool = True) -> Dataset:
    """Label every fifth sample of a dataset: voxels, and the depth of the ground under 12 m in all images."""
    dataset = Dataset.open(root)
    save_label_names(root, NAMES)
    for index in range(0, len(dataset), every):
        sample = dataset[index]
        write_voxels(
            voxels_path(root, sample.drive, sample.stamp_ns), labels_of(index), {"mask_camera": np.ones(GRID.shape)}
        )
        for image in sample.images if depth else ():
            plane = flat_ground_depth(image.camera, image.base_from_camera, far=FAR_M)
            known = np.where(plane < FAR_M, plane, 0.0)
            path = picture_path(root, "depth", sample.drive, image.name, image.stamp_ns)
            write_picture(path, depth_pixels(known))
    return dataset


@pytest.fixture(scope="session")
def bare_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three cameras in a bend at 10 m/s for three seconds, without labels."""
    pytest.importorskip("pyarrow")
    from recorded_drives import write_drive

    folder = tmp_path_factory.mktemp("evaluation")
    prepare([write_drive(folder / "drive", seconds=3.0)], folder / "dataset")
    return folder / "dataset"


@pytest.fixture(scope="session")
def labelled_root(bare_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with voxel labels and depth maps on every fifth sample."""
    root = tmp_path_factory.mktemp("labelled") / "dataset"
    shutil.copytree(bare_root, root)
    write_labels(root)
    return root


@pytest.fixture
def labelled(labelled_root: Path) -> Dataset:
    return Dataset.open(labelled_root)


@pytest.fixture
def bare(bare_root: Path) -> Dataset:
    return Dataset.open(bare_root)


@pytest.fixture
def toy() -> Callable[..., Toy]:
    """``toy(dataset, **changes)``."""
    return Toy
