# SPDX-License-Identifier: Apache-2.0
"""Reading a dataset: samples, neighbours, clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfocc_ros.errors import SelfOccError
from selfocc_ros.logs.samples import iterate_samples
from selfocc_ros.sensing.preprocess import preprocess
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.town_clips import base_rig


def test_samples_are_those_that_the_node_would_work_on(bag: Path, prepared: Path) -> None:
    dataset = Dataset.open(prepared)
    for index, live in enumerate(iterate_samples(bag)):
        kept = dataset.rig_sample(index)
        assert kept.stamp_ns == live.stamp_ns
        assert kept.rig.names == live.rig.names
        assert kept.rig.cameras == live.rig.cameras
        np.testing.assert_array_equal(kept.rig.base_from_camera, live.rig.base_from_camera)
        assert [bytes(f.data) for f in kept.frames] == [bytes(f.data) for f in live.frames]


def test_neighbours_lie_within_the_distances(prepared: Path) -> None:
    dataset = Dataset.open(prepared)
    found = dataset.neighbours(12, "front", 0.9, 3.2)
    assert found.before == (11, 10, 9)  # 10 m/s at 10 Hz: a metre a sample
    assert found.after == (13, 14, 15)
    assert dataset.neighbours(0, "front", 0.9, 2.1).before == ()
    with pytest.raises(SelfOccError, match="no camera 'roof', found back, front, left"):
        dataset.neighbours(0, "roof", 1.0, 2.0)


def test_a_clip_holds_what_the_network_would_see(bag: Path, prepared: Path) -> None:
    dataset = Dataset.open(prepared)
    chosen = dataset.along(4, 5, 1.7)
    assert chosen == [4, 6, 8, 10, 12]
    assert dataset.along(25, 5, 1.7) is None
    clip = dataset.clip(chosen, (32, 24), ("left", "front"))
    live = next(sample for sample in iterate_samples(bag) if sample.stamp_ns == dataset.stamps_ns[8])
    seen = preprocess(live, (32, 24))
    order = [seen.rig.names.index(name) for name in ("left", "front")]
    np.testing.assert_array_equal(clip.images[2], seen.images[order].transpose(0, 3, 1, 2))
    np.testing.assert_allclose(base_rig(clip, 2, 2), seen.rig.base_from_camera[order], atol=1e-9)
    np.testing.assert_allclose(clip.sizes[0], (32, 18))


@pytest.mark.fault
def test_fault_no_dataset_and_no_such_split(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(SelfOccError, match="is no dataset"):
        Dataset.open(tmp_path)
    with pytest.raises(SelfOccError, match=r"no samples of split 'val' \(it has: train\)"):
        Dataset.open(prepared).indices("val")
