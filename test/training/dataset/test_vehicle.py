# SPDX-License-Identifier: Apache-2.0
"""One parameter file tells `prepare` what it tells the node: frames, cameras, and where the road is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfocc_ros.logs.records import BagError
from selfocc_ros.sensing.layout import Layout
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.parquet import DatasetError
from selfocc_training.dataset.prepare import prepare
from selfocc_training.dataset.proposal import propose


def test_a_proposal_follows_what_is_known(bag: Path) -> None:
    names = tuple(propose(bag).cameras)
    known = {"base_frame": "car", "ground_z": -0.4, "cameras": names[1:], "max_wait": 0.1, "checkpoint": "x"}
    layout = propose(bag, known)
    assert (layout.base_frame, layout.fixed_frame, layout.ground_z, layout.max_wait) == ("car", "odom", -0.4, 0.1)
    assert tuple(layout.cameras) == names[1:]
    with pytest.raises(BagError, match="has no camera 'roof', found"):
        propose(bag, {"cameras": ("roof",)})


def test_clips_lie_on_the_road(bag: Path, prepared: Path, tmp_path: Path) -> None:
    description = prepare([bag], tmp_path / "data", vehicle={"ground_z": -0.4})
    assert description["ground_z"] == -0.4
    above, on = Dataset.open(prepared), Dataset.open(tmp_path / "data")
    indices = above.along(0, 3, 0.5)
    assert indices is not None
    there, lowered = above.clip(indices, (64, 48)), on.clip(indices, (64, 48))
    np.testing.assert_array_equal(there.odom_from_camera, lowered.odom_from_camera)
    road = there.odom_from_base @ np.array([0.0, 0.0, -0.4, 1.0])
    np.testing.assert_allclose(lowered.odom_from_base @ np.array([0.0, 0.0, 0.0, 1.0]), road, atol=1e-12)
    # What is stored of samples does not depend on it: the road may be told later.
    assert Layout(ground_z=1.0).fingerprint() == Layout().fingerprint()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"layout": "town", "vehicle": {"ground_z": 1.0}}, "by a layout or by the node's parameters, not by both"),
        ({"vehicle": {"base_frame": "car"}}, "has base_frame base_link, but the node's parameters have car"),
    ],
)
def test_what_contradicts_is_refused(prepared: Path, bag: Path, asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        prepare([bag], prepared, **asked)
