# SPDX-License-Identifier: Apache-2.0
"""Which samples are scored, whose images make blind, which classes agree, and the page that shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.parquet import DatasetError
from selfocc_training.evaluation.choice import Ways, blinded, evenly, far_sample, split_to_score, travelling
from selfocc_training.evaluation.classes import (
    NO_CLASS,
    ProtocolError,
    common,
    matches,
)
from selfocc_training.evaluation.report import draw_sample, ranked, thickened, write_report
from selfocc_training.evaluation.run import evaluate
from selfocc_training.evaluation.scorer import Settings
from selfocc_training.metrics.occ3d import CLASS_NAMES


def test_evenly() -> None:
    indices = np.arange(10, 20)
    assert evenly(indices, 3).tolist() == [10, 14, 19]
    assert evenly(indices, 1).tolist() == [10]
    assert evenly(indices, None).tolist() == evenly(indices, 99).tolist() == indices.tolist()


def test_the_split_falls_back_to_what_there_is(bare: Dataset) -> None:
    assert split_to_score(bare, None)[0] == "train"
    with pytest.raises(DatasetError, match="no samples of split 'val'"):
        split_to_score(bare, "val")


def test_travel_to_the_next_sample(bare: Dataset) -> None:
    everything = np.arange(len(bare))
    assert travelling(bare, everything, 0.0).tolist() == everything.tolist()
    assert travelling(bare, everything, 0.9).tolist() == everything.tolist()
    assert travelling(bare, everything, 1.1).tolist() == []
    assert len(Ways(bare).poses(3)) == len(bare)


def test_blind_images_come_from_far_away_and_keep_the_geometry(bare: Dataset) -> None:
    found = far_sample(bare, 2)
    assert found is not None
    other, metres = found
    assert other == len(bare) - 1
    assert metres == pytest.approx(bare.distance_m[other] - bare.distance_m[2])
    sample, images = bare.rig_sample(2), bare.rig_sample(other)
    blind = blinded(sample, images)
    assert blind.rig is sample.rig
    assert [frame.stamp_ns for frame in blind.frames] == [frame.stamp_ns for frame in images.frames]


def drives_of(*cameras: tuple[str, ...]) -> Any:
    """A dataset of drives with five samples each, whose cameras these are."""
    camera = SimpleNamespace(width=64, height=36)
    samples = [
        SimpleNamespace(
            drive=f"drive{n}", distance_m=float(k), images=[SimpleNamespace(name=c, camera=camera) for c in own]
        )
        for n, own in enumerate(cameras)
        for k in range(5)
    ]

    class Drives:
        drives = np.array([sample.drive for sample in samples])
        distance_m = np.array([sample.distance_m for sample in samples])

        def __getitem__(self, index: int) -> Any:
            return samples[index]

    return Drives()


def test_blind_images_come_from_another_drive_with_the_same_cameras() -> None:
    assert far_sample(drives_of(("a", "b"), ("b", "a")), 3) == (8, float("inf"))
    assert far_sample(drives_of(("a", "b"), ("a",), ("a", "b", "c")), 0) == (10, float("inf"))
    assert far_sample(drives_of(("a", "b"), ("a",)), 1) == (4, 3.0)
    assert far_sample(drives_of(("a",), ("a", "b")), 9) == (5, 4.0)


def test_names_of_classes() -> None:
    assert matches(["Construction-Vehicle", "moon", "traffic cone"], CLASS_NAMES).tolist() == [5, NO_CLASS, 8]
    assert common(["car", "moon"], ["bus", "Car"], CLASS_NAMES) == {4}
    assert common([], ["bus"], CLASS_NAMES) == set()
    with pytest.raises(ProtocolError, match=r"\(moon\) and the dataset's \(car\) have no name in common"):
        common(["moon"], ["car"], CLASS_NAMES)


def test_points_stay_visible_in_small_pictures() -> None:
    depth = np.zeros((40, 60), np.float32)
    depth[13, 29], depth[14, 28] = 7.0, 3.0
    small = thickened(depth, (4, 6))
    assert small[1, 2] == 3.0
    assert np.count_nonzero(small) == 1


def test_the_report_is_one_file_with_the_worst_sample_in_it(
    toy: Callable[..., Any], labelled: Dataset, tmp_path: Path
) -> None:
    network = toy(labelled, depth_factor=1.1)
    evaluation = evaluate(network, labelled, Settings("depth", stride=2, samples=3, blind=False))
    order = ranked(evaluation)
    errors = [evaluation.by_sample[place]["abs_rel"] for place in order]
    assert errors == sorted(errors)
    page = write_report(tmp_path / "report", evaluation, "a <network>").read_text(encoding="utf-8")
    for word in ("best: abs_rel", "median: abs_rel", "worst: abs_rel", "flat ground", "a &lt;network&gt;", "<svg"):
        assert word in page
    assert page.count("data:image/jpeg;base64,") == 6
    assert "http" not in page
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be written"):
        write_report(tmp_path / "file" / "report", evaluation, "network")


def test_the_report_draws_all_that_is_known(toy: Callable[..., Any], labelled: Dataset) -> None:
    drawn = []
    for protocol in ("depth", "occ3d"):
        scorer = evaluate(toy(labelled), labelled, Settings(protocol, stride=4, samples=1, blind=False)).scorer
        drawn.append([image.shape for image in draw_sample(scorer, 5)])
    # Under either protocol: two bird's eyes, and three pictures per camera.
    assert drawn[0] == drawn[1]
    assert drawn[0][1][1] == 3 * 480
