# SPDX-License-Identifier: Apache-2.0
"""Protocol `town`: a predictor that knows the truth scores perfectly, one that looks at nothing is blind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from selfocc_ros.geometry.voxels import FREE, OCC3D, OCC3D_CLASSES, OCCUPIED, OccupancyVolume, VoxelGrid
from selfocc_ros.sensing.decode import decode
from selfocc_ros.sensing.frames import RigSample
from selfocc_ros.town.rigs import load_rig
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import TownFrame, render_frame, stamp_of, truth_volume
from selfocc_training.town_evaluation import (
    FLAT_GROUND_BAND_M,
    KINDS,
    Scene,
    Tally,
    blinded,
    choose_flat_ground_band,
    encode_sample,
    evaluate_town,
    flat_ground_layers,
    occ3d_classes,
)

FIGURES = {f"{name}{kind}" for name in ("iou", "iou_above_ground", "abs_rel", "abs_rel_above_ground") for kind in KINDS}


@dataclass
class Said:
    volume: OccupancyVolume
    frame: TownFrame


class Oracle:
    """Recognises the frame by its images, and says what is true there. Blind, it says so of another frame."""

    def __init__(self, seeds: tuple[int, ...], samples: int, rig: str, seconds: float) -> None:
        self._known: dict[bytes, tuple[Town, TownFrame]] = {}
        for seed in seeds:
            town, spec = Town(seed, seconds=seconds), load_rig(rig).jittered(seed)
            for k in range(samples):
                frame = render_frame(town, spec, stamp_of(seconds * (k + 0.5) / samples))
                self._known[bytes(encode_sample(frame).frames[0].data)] = (town, frame)
        self.samples: list[RigSample] = []

    def predict(self, sample: RigSample) -> Said:
        self.samples.append(sample)
        town, frame = self._known[bytes(sample.frames[0].data)]
        truth = truth_volume(town, frame)
        state = np.where(truth.classes < 17, OCCUPIED, FREE).astype(np.uint8)
        classes = np.where(truth.classes < 17, truth.classes, 0).astype(np.uint8)
        return Said(OccupancyVolume(OCC3D, state, None, classes, OCC3D_CLASSES), frame)

    def render_depth(self, prediction: Any, camera: Any, base_from_camera: Any, stride: int = 1) -> Any:
        poses = prediction.frame.rig.base_from_camera
        # blind, the geometry is another drive's: the nearest camera is meant
        index = int(np.argmin(np.abs(poses - base_from_camera).sum(axis=(1, 2))))
        return prediction.frame.views[index].depth[::stride, ::stride]


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    oracle = Oracle((9000, 9001), 1, "front1", 4.0)
    shown: list[Scene] = []
    ticks: list[tuple[int, int]] = []
    out = evaluate_town(
        oracle, [9000, 9001], seconds=4.0, samples_per_seed=1, rig="front1",
        progress=lambda done, total: ticks.append((done, total)), show=lambda scene, *_: shown.append(scene),
    )  # fmt: skip
    return {**out, "oracle": oracle, "shown": shown, "ticks": ticks}


def test_the_truth_scores_perfectly_and_beats_both_baselines(result: dict[str, Any]) -> None:
    assert set(result) >= FIGURES
    assert result["iou"] == 1.0
    assert result["iou_above_ground"] == 1.0
    assert result["abs_rel"] == 0.0
    for figure in ("miou", "miou_15"):
        assert result[figure] == 1.0
        assert 0 < result[f"{figure}_flat_ground"] < 0.2
        assert 0 < result[f"{figure}_blind"] < 0.9
    assert result["details"]["iou_driveable_surface"] == 1.0
    assert result["details"]["iou_manmade_flat_ground"] == 0.0
    assert "iou_trailer" not in result["details"]
    assert result["abs_rel_above_ground"] == 0.0
    for kind in ("_flat_ground", "_blind"):
        assert 0.0 < result[f"iou{kind}"] < 0.9
        assert 0.0 <= result[f"iou_above_ground{kind}"] < 0.5
        assert result[f"abs_rel{kind}"] > 0.01
        assert result[f"abs_rel_above_ground{kind}"] > 0.1
    # what stands above the ground is what flat ground does not know
    assert result["iou_above_ground_flat_ground"] < 0.05 < result["iou_flat_ground"]
    assert result["abs_rel_above_ground_flat_ground"] > result["abs_rel_flat_ground"]


def test_every_sample_counts_once(result: dict[str, Any]) -> None:
    assert result["samples"] == 2
    assert result["ticks"] == [(1, 2), (2, 2)]
    assert sorted(scene.seed for scene in result["shown"]) == [9000, 9001]
    assert set(result["by_seed"]) == {"9000", "9001"}
    assert result["details"]["precision_above_ground"] == 1.0
    assert result["details"]["recall_above_ground"] == 1.0


def test_blind_is_fed_the_other_drives_images_with_its_own_geometry(result: dict[str, Any]) -> None:
    oracle = result["oracle"]
    assert len(oracle.samples) == 4
    images = [bytes(s.frames[0].data) for s in oracle.samples]
    # scored in the order 9001, 9000; each once seeing and once blind
    assert images[0] == images[3]
    assert images[1] == images[2]
    assert images[0] != images[1]
    seen, blind = oracle.samples[0], oracle.samples[1]
    assert seen.stamp_ns == blind.stamp_ns
    np.testing.assert_array_equal(seen.rig.base_from_camera, blind.rig.base_from_camera)


def test_one_drive_alone_is_blinded_by_the_next_seed() -> None:
    oracle = Oracle((9002, 9003), 1, "front1", 4.0)
    result = evaluate_town(oracle, [9002], seconds=4.0, samples_per_seed=1, rig="front1")
    assert result["samples"] == 1
    assert result["iou"] == 1.0
    assert result["iou_blind"] < 0.9


def test_nothing_to_evaluate_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs seeds and samples"):
        evaluate_town(Oracle((), 0, "front1", 1.0), [])


def test_samples_are_what_a_recording_holds() -> None:
    spec = load_rig("surround6").jittered(9004)
    town = Town(9004, seconds=4.0)
    frame = render_frame(town, spec, stamp_of(2.0), width=192)
    sample = encode_sample(frame)
    assert sample.rig.names == frame.rig.names
    for item, view, (_, camera) in zip(sample.frames, frame.views, spec.cameras, strict=True):
        assert item.stamp_ns == frame.stamp_ns + round(camera.offset * 1e9)
        decoded = decode(item)
        assert decoded.shape == view.image.shape
        error = np.abs(decoded.astype(int) - view.image.astype(int)).mean()
        assert 0 < error < 8  # JPEG loses a little; swapped colours would lose a lot
        assert np.abs(decoded[..., ::-1].astype(int) - view.image.astype(int)).mean() > error
    other = render_frame(town, spec, stamp_of(3.0), width=192)
    mixed = blinded(sample, encode_sample(other))
    assert mixed.stamp_ns == sample.stamp_ns
    assert bytes(mixed.frames[0].data) != bytes(sample.frames[0].data)


def test_the_band_of_flat_ground_is_the_best_on_a_training_drive() -> None:
    layers = flat_ground_layers(OCC3D)
    assert layers == [2]
    assert OCC3D.lower[2] + 2 * OCC3D.cell[2] == pytest.approx(FLAT_GROUND_BAND_M[0])
    assert choose_flat_ground_band(seeds=[0], samples_per_seed=1) == pytest.approx(FLAT_GROUND_BAND_M)
    coarse = VoxelGrid((-40.0, -40.0, -1.2), (40.0, 40.0, 5.2), (100, 100, 8))
    assert flat_ground_layers(coarse) == [1]


def test_tallies_add_up() -> None:
    town, spec = Town(9005, seconds=4.0), load_rig("front1").jittered(9005)
    parts = []
    for t in (1.0, 3.0):
        frame = render_frame(town, spec, stamp_of(t))
        tally = Tally(samples=1)
        tally.add_flat_ground(frame, truth_volume(town, frame))
        parts.append(tally)
    both = parts[0] + parts[1]
    assert both.samples == 2
    counts = [p.occupancy["_flat_ground"].all for p in (*parts, both)]
    assert counts[0].hits + counts[1].hits == counts[2].hits
    low, high = sorted(p.figures()["abs_rel_flat_ground"] for p in parts)
    assert low <= both.figures()["abs_rel_flat_ground"] <= high


def test_classes_are_matched_by_name() -> None:
    state = np.array([OCCUPIED, OCCUPIED, OCCUPIED, FREE], np.uint8).reshape(4, 1, 1)
    grid, labels = VoxelGrid((0, 0, 0), (4, 1, 1), (4, 1, 1)), np.array([0, 1, 2, 0], np.uint8).reshape(4, 1, 1)
    found = occ3d_classes(OccupancyVolume(grid, state, None, labels, ("vegetation", "unicorn", "car")))
    assert found is not None
    assert found.ravel().tolist() == [16, 0, 4, 17]
    assert occ3d_classes(OccupancyVolume(grid, state, None, labels, ("north", "south", "west"))) is None
    assert occ3d_classes(OccupancyVolume(grid, state)) is None
