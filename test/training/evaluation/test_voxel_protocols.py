# SPDX-License-Identifier: Apache-2.0
"""Voxel protocols on a dataset whose right answers are known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from selfocc_ros.geometry.voxels import OCCUPIED, OccupancyVolume, VoxelGrid
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.labels import VoxelLabels
from selfocc_training.distil.provenance import DistilError
from selfocc_training.evaluation.classes import ProtocolError
from selfocc_training.evaluation.grids import VoxelTruth, above_flat_ground, read_field, read_volume
from selfocc_training.evaluation.run import SCORERS, Evaluation, evaluate
from selfocc_training.evaluation.scorer import Settings
from selfocc_training.metrics.occ3d import OCC3D, SELFOCC_PAPER

GRID = VoxelGrid((-8.0, -8.0, -0.8), (8.0, 8.0, 2.4), (20, 20, 4))
CELLS, WALL_CELLS = 20 * 20, 20 * 2


def figures_of(toy: Callable[..., Any], dataset: Dataset, protocol: str, **changes: Any) -> dict[str, float]:
    return evaluate(toy(dataset, **changes), dataset, Settings(protocol)).figures


def config_with(*classes: str) -> Any:
    return SimpleNamespace(grid=GRID, head=SimpleNamespace(classes=classes))


@pytest.mark.parametrize("protocol", ["occ3d", "rayiou", "semantickitti"])
def test_a_perfect_network_scores_one_and_a_blind_one_less(
    toy: Callable[..., Any], labelled: Dataset, protocol: str
) -> None:
    figures = figures_of(toy, labelled, protocol, **({"config": config_with()} if protocol != "occ3d" else {}))
    first = {"occ3d": "miou", "rayiou": "rayiou_occupied", "semantickitti": "iou"}[protocol]
    for name in (first, "iou", "iou_above_ground"):
        assert figures[name] == 1.0
        assert figures[f"{name}_blind"] < 1.0
        assert figures[f"{name}_flat_ground"] < 1.0


def test_flat_ground_and_blindness_by_hand(toy: Callable[..., Any], labelled: Dataset) -> None:
    figures = figures_of(toy, labelled, "occ3d")
    assert figures["iou_flat_ground"] == pytest.approx(CELLS / (CELLS + WALL_CELLS))
    assert figures["iou_above_ground_flat_ground"] == 0.0
    # Of the truth's two classes flat ground knows the road, and none that is not there.
    assert figures["miou_flat_ground"] == pytest.approx(0.5)
    assert figures["iou_blind"] == pytest.approx(CELLS / (CELLS + 2 * WALL_CELLS))
    assert figures["iou_above_ground_blind"] == 0.0
    assert figures["miou_15"] == figures["miou_no_mask"] == figures["iou_no_mask"] == 1.0


def test_without_classes_only_occupied_voxels_are_told(toy: Callable[..., Any], labelled: Dataset) -> None:
    evaluation = evaluate(toy(labelled, config=config_with()), labelled, Settings("occ3d"))
    assert not any("miou" in name for name in evaluation.figures)
    assert any("no classes" in note for note in evaluation.scorer.notes)
    assert evaluation.figures["iou"] == 1.0


def test_classes_are_matched_by_name(toy: Callable[..., Any], labelled: Dataset) -> None:
    swapped = [*labelled.label_names.classes]  # type: ignore[union-attr]
    road, wall = swapped.index("driveable_surface"), swapped.index("manmade")
    swapped[road], swapped[wall] = "Manmade", "driveable surface"
    figures = figures_of(toy, labelled, "occ3d", config=config_with(*swapped))
    assert figures["iou"] == 1.0
    assert figures["miou"] == 0.0
    with pytest.raises(ProtocolError, match="no name in common"):
        figures_of(toy, labelled, "occ3d", config=config_with("moon", "sun"))


@pytest.mark.parametrize("protocol", ["occ3d", "rayiou", "semantickitti"])
@pytest.mark.parametrize("as_selfocc", [False, True])
def test_distilled_labels_do_not_pass_for_truth(
    toy: Callable[..., Any], labelled_root: Path, tmp_path: Path, protocol: str, as_selfocc: bool
) -> None:
    settings = Settings(protocol, as_selfocc=as_selfocc, blind=False)
    truth = Dataset.open(labelled_root)
    assert not any("distilled" in word for word in (SCORERS[protocol](toy(truth), truth, settings)).notes)
    root = Path(shutil.copytree(labelled_root, tmp_path / "distilled"))
    (root / "distilled.yaml").write_text("{checkpoint: tiny.safetensors, fingerprint: '0123'}")
    dataset = Dataset.open(root)
    scorer = SCORERS[protocol](toy(dataset), dataset, settings)
    told = Evaluation(scorer, (), {}, (), "val", 0.0).result()
    assert told["title"].startswith(f"{protocol} against distilled labels, which are no truth")
    assert ("SelfOcc's own" in told["title"]) == (as_selfocc and protocol != "rayiou")
    assert "the labels were distilled by tiny.safetensors 0123: " in told["notes"][0]
    (root / "distilled.yaml").write_text("nothing")
    with pytest.raises(DistilError, match=r"distilled\.yaml does not say what made the labels"):
        SCORERS[protocol](toy(dataset), dataset, settings)


def test_fault_no_labels_and_no_split(toy: Callable[..., Any], bare: Dataset, labelled: Dataset) -> None:
    with pytest.raises(ProtocolError, match="no voxel labels"):
        figures_of(toy, bare, "occ3d")
    with pytest.raises(ProtocolError, match="5000 m of travel"):
        evaluate(toy(labelled), labelled, Settings("occ3d", min_travel_m=5000.0))


def test_samples_are_those_with_labels_evenly_chosen(toy: Callable[..., Any], labelled: Dataset) -> None:
    evaluation = evaluate(toy(labelled), labelled, Settings("occ3d", samples=3, blind=False))
    assert evaluation.indices == (0, 10, 25)
    assert not any(name.endswith("_blind") for name in evaluation.figures)
    assert evaluation.split == "train"
    assert any("no validation split" in note for note in evaluation.scorer.notes)
    result = evaluation.result()
    assert [sample["miou"] for sample in result["by_sample"]] == [1.0] * 3


def labels(grid: VoxelGrid, moved: float = 0.0) -> VoxelLabels:
    pose = np.eye(4)
    pose[0, 3] = moved
    return VoxelLabels(np.full(grid.shape, 17, np.uint8), grid, (), 17, None, None, None, pose)


def test_a_prediction_is_read_where_the_truth_is() -> None:
    state = np.zeros(GRID.shape, np.uint8)
    state[10, 5, 2] = OCCUPIED
    volume = OccupancyVolume(GRID, state, classes=np.where(state == OCCUPIED, 4, 0).astype(np.uint8))
    occupied, classes = read_volume(volume, labels(GRID, moved=1.6))
    assert np.argwhere(occupied).tolist() == [[8, 5, 2]]
    assert classes is not None
    assert classes[8, 5, 2] == 4
    finer = VoxelGrid(GRID.lower, GRID.upper, (40, 40, 8))
    occupied, _ = read_volume(volume, labels(finer))
    assert np.argwhere(occupied).tolist() == [[x, y, z] for x in (20, 21) for y in (10, 11) for z in (4, 5)]
    wider = VoxelGrid((-16.0, -8.0, -0.8), (16.0, 8.0, 2.4), (40, 20, 4))
    assert np.argwhere(read_volume(volume, labels(wider))[0]).tolist() == [[20, 5, 2]]


class Ramp:
    """Occupied where x + z < 0.01: no voxel lies right on the border."""

    nodes = torch.zeros(1)

    def sdf(self, points: torch.Tensor) -> torch.Tensor:
        return points[..., 0] + points[..., 2] - 0.01

    def class_logits(self, points: torch.Tensor) -> torch.Tensor:
        return torch.stack([points[..., 1], -points[..., 1]], dim=-1)


def test_the_field_is_read_where_a_protocol_says() -> None:
    centres, classes = read_field(Ramp(), labels(GRID), OCC3D, 0.0, (7, 3))
    points = GRID.centres()
    np.testing.assert_array_equal(centres, points[..., 0] + points[..., 2] < 0.01)
    np.testing.assert_array_equal(classes, np.where(points[..., 1] > 0, 7, 3))
    # Between the borders of the grid the first and the last voxel of a row lie half a cell further out.
    ends, none = read_field(Ramp(), labels(GRID), SELFOCC_PAPER, 0.0)
    assert none is None
    assert (ends != centres).any()
    lifted, _ = read_field(Ramp(), labels(GRID), OCC3D, 0.8)
    np.testing.assert_array_equal(lifted, points[..., 0] + points[..., 2] < 0.81)


def test_above_ground_and_unknown_voxels() -> None:
    assert above_flat_ground(GRID, 0.0)[0, 0].tolist() == [False, False, True, True]
    assert above_flat_ground(GRID, -0.5)[0, 0].tolist() == [False, True, True, True]
    told = labels(GRID)
    told.label[:, :, 1] = 255
    told.label[0, 0, 0] = 3
    truth = VoxelTruth.of(told, 0.0)
    assert int(truth.occupied.sum()) == 1
    assert int((~truth.known).sum()) == CELLS
    assert not truth.mask[:, :, 1].any()
    assert (truth.volume.state[:, :, 1] == 255).all()
