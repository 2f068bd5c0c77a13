# SPDX-License-Identifier: Apache-2.0
"""SemanticKITTI's voxels: bits and classes as they were packed, and where the grid lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from kitti_miniature import write_voxels

from selfocc_ros.logs.kitti.files import KittiError
from selfocc_ros.logs.kitti.semantic import CELLS, CLASS_NAMES, read_voxels, unpack, write_truth

STAMPS = (100, 200, 300, 400, 500, 600)


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """Frame 5 has labels: a road under x 10 .. 10.2, y 0 .. 0.2, and random bits of what is not seen."""
    rng = np.random.default_rng(0)
    raw = np.zeros(CELLS, np.uint16)
    raw[50, 128, 2] = 40
    raw[60:64, 10, 5] = 252, 99, 1, 52
    invalid, occluded = rng.random((2, *CELLS)) < 0.3
    invalid[50:64, 128, 2] = invalid[60:64, 10, 5] = False
    write_voxels(tmp_path, 5, raw, invalid, occluded)
    np.savez(tmp_path / "packed.npz", invalid=invalid, occluded=occluded)
    return tmp_path


def test_bits_come_out_as_they_were_packed(sequence: Path) -> None:
    packed = np.load(sequence / "packed.npz")
    for name in ("invalid", "occluded"):
        np.testing.assert_array_equal(unpack(sequence / "voxels" / f"000005.{name}"), packed[name])


def test_the_first_cell_is_the_highest_bit_and_z_runs_fastest(tmp_path: Path) -> None:
    packed = bytearray(int(np.prod(CELLS)) // 8)
    packed[0], packed[CELLS[2] // 8] = 0b1000_0010, 0b0100_0000
    (tmp_path / "000000.bin").write_bytes(packed)
    assert np.argwhere(unpack(tmp_path / "000000.bin")).tolist() == [[0, 0, 0], [0, 0, 6], [0, 1, 1]]


def test_classes_and_unknown(sequence: Path) -> None:
    packed = np.load(sequence / "packed.npz")
    voxels = read_voxels(sequence / "voxels", "000005")
    assert voxels.label.dtype == np.uint8
    assert (voxels.label[packed["invalid"]] == 255).all()
    assert voxels.label[50, 128, 2] == CLASS_NAMES.index("road")
    # A moving car is a car; what belongs to no class is unknown, and nothing is empty.
    assert voxels.label[60:64, 10, 5].tolist() == [CLASS_NAMES.index("car"), 255, 255, 255]
    assert (voxels.label == 0).sum() == (~packed["invalid"]).sum() - 5
    assert voxels.visible is not None
    np.testing.assert_array_equal(voxels.visible, ~packed["occluded"])


def test_class_names_are_those_of_the_scores() -> None:
    from selfocc_training.metrics.semantickitti import CLASS_NAMES as SCORED

    assert CLASS_NAMES == SCORED


def test_truth_lies_in_base_link(sequence: Path) -> None:
    counts: list[tuple[int, int]] = []
    assert write_truth(sequence / "voxels", STAMPS, sequence / "truth", lambda n, of: counts.append((n, of))) == 1
    assert counts == [(1, 1)]
    labels = yaml.safe_load((sequence / "truth" / "labels.yaml").read_text())
    assert labels["classes"] == list(CLASS_NAMES)
    assert labels["free"] == 0
    grid = labels["grid"]
    assert grid == {"lower": [0.0, -25.6, -0.27], "cells": [256, 256, 32], "voxel_size": 0.2}
    assert [path.name for path in (sequence / "truth" / "voxels").iterdir()] == ["600.npz"]
    with np.load(sequence / "truth" / "voxels" / "600.npz") as found:
        assert sorted(found) == ["label", "mask_lidar"]
        road = np.argwhere(found["label"] == CLASS_NAMES.index("road"))
    centre = np.array(grid["lower"]) + (road[0] + 0.5) * grid["voxel_size"]
    assert centre == pytest.approx([10.1, 0.1, 0.23])


def test_sequences_without_labels_get_no_truth(tmp_path: Path) -> None:
    (tmp_path / "voxels").mkdir()
    (tmp_path / "voxels" / "000000.bin").write_bytes(b"")
    assert write_truth(tmp_path / "voxels", STAMPS, tmp_path / "truth") == 0
    assert not (tmp_path / "truth").exists()


@pytest.mark.fault
def test_fault_damaged_and_missing_files(sequence: Path) -> None:
    voxels = sequence / "voxels"
    (voxels / "000005.invalid").write_bytes(b"short")
    with pytest.raises(KittiError, match=r"000005\.invalid is damaged: it has 5 bytes, expected 262144"):
        read_voxels(voxels, "000005")
    (voxels / "000005.invalid").unlink()
    with pytest.raises(KittiError, match=r"000005\.invalid is missing"):
        read_voxels(voxels, "000005")
    with pytest.raises(KittiError, match=r"000005\.label belongs to no frame: the sequence has 2"):
        write_truth(voxels, STAMPS[:2], sequence / "truth")
    (voxels / "000005.label").write_bytes(bytes(7))
    with pytest.raises(KittiError, match=r"000005\.label is damaged: it has 7 bytes, expected 4194304"):
        read_voxels(voxels, "000005")
