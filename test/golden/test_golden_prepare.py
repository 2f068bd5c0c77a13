# SPDX-License-Identifier: Apache-2.0
"""A real drive as a dataset: PandaSet 002, whose poses and stamps are told beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfocc_ros.geometry.poses import invert
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.prepare import prepare

BAGS = Path(__file__).resolve().parents[3] / "shared" / "bags"


@pytest.fixture(scope="module")
def pandaset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The dataset of the recording; the tests are skipped where it is absent."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    if not (BAGS / "pandaset_002_train").is_dir():
        pytest.skip("the recording of PandaSet (../shared/bags) is not on this machine")
    root = tmp_path_factory.mktemp("pandaset") / "dataset"
    prepare([BAGS / "pandaset_002_train"], root)
    return Dataset.open(root)


def test_golden_prepare_keeps_all_samples_of_all_cameras(pandaset: Dataset) -> None:
    assert len(pandaset) == 37
    assert pandaset.cameras == ("back", "front", "front_left", "front_right", "left", "right")
    assert all(len(sample.images) == 6 and not sample.missing for sample in pandaset.samples("train"))
    assert len(list((pandaset.root / "images").rglob("*.jpg"))) == 37 * 6
    assert pandaset.distance_m[-1] == pytest.approx(13.1, abs=0.3)
    assert (pandaset.root / "report.txt").read_text().count("dropped 0") == 6


def test_golden_prepare_has_the_poses_of_the_drive(pandaset: Dataset) -> None:
    compared = 0
    for path in sorted((BAGS / "pandaset_002_train_gt").glob("*.npz")):
        with np.load(path) as truth:
            stamps = dict(zip(truth["cameras"].tolist(), truth["image_stamps_ns"].tolist(), strict=True))
            odom_from_base = truth["odom_base"]
        index = np.flatnonzero(pandaset.stamps_ns == stamps["front"])
        if not len(index):
            continue
        sample = pandaset[int(index[0])]
        # The truth's pose is that of the sweep, 50 ms after the front camera's image.
        assert np.linalg.norm((invert(odom_from_base) @ sample.odom_from_base)[:3, 3]) < 0.5
        assert {image.name: image.stamp_ns for image in sample.images if image.name != "back"} == {
            name: stamp for name, stamp in stamps.items() if name != "back"
        }
        compared += 1
    assert compared == 10
