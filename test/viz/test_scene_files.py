# SPDX-License-Identifier: Apache-2.0
"""Saved scenes hold what the volume held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfocc_ros.geometry.voxels import FREE, OCCUPIED, UNKNOWN, OccupancyVolume, VoxelGrid
from selfocc_ros.viz.colours import class_colours, height_colours
from selfocc_ros.viz.scene_files import SceneFileError, write_scene

GRID = VoxelGrid((-2.0, -1.0, -1.0), (4.0, 3.0, 2.2), (15, 10, 8))
NAMES = ("road", "car", "vegetation")


def volume(*, classes: bool) -> OccupancyVolume:
    rng = np.random.default_rng(0)
    state = rng.choice(np.array([FREE, OCCUPIED, UNKNOWN], np.uint8), GRID.shape)
    labels = np.where(state == OCCUPIED, rng.integers(0, 3, GRID.shape), 0).astype(np.uint8) if classes else None
    values = rng.normal(size=GRID.shape).astype(np.float32)
    return OccupancyVolume(GRID, state, values, labels, NAMES if classes else ())


def read_ply(path: Path) -> np.ndarray:
    """Any binary little-endian PLY of vertices alone."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    kinds = {"float": "<f4", "uchar": "u1"}
    fields = [(name, kinds[kind]) for _, kind, name in (line.split() for line in lines if line.startswith("property"))]
    [count] = [int(line.split()[2]) for line in lines if line.startswith("element vertex")]
    vertices = np.frombuffer(body, fields)
    assert len(vertices) == count
    return vertices


@pytest.mark.parametrize("classes", [False, True])
def test_both_files_hold_the_scene(tmp_path: Path, classes: bool):
    scene = volume(classes=classes)
    ply, npz = write_scene(tmp_path / "new" / "folder", scene, 1_700_000_000_123_456_789, "base_link", 0.25)
    assert (ply.name, npz.name) == ("occupancy_1700000000123456789.ply", "occupancy_1700000000123456789.npz")
    assert {path.name for path in ply.parent.iterdir()} == {ply.name, npz.name}
    vertices = read_ply(ply)
    centres = scene.occupied_centres()
    np.testing.assert_allclose(np.stack([vertices[a] for a in "xyz"], axis=1), centres, atol=1e-6)
    colours = np.stack([vertices[c] for c in ("red", "green", "blue")], axis=1)
    if scene.classes is None:
        np.testing.assert_array_equal(colours, height_colours(centres[:, 2].astype(np.float64) - 0.25))
    else:
        labels = scene.classes[scene.state == OCCUPIED]
        np.testing.assert_array_equal(vertices["label"], labels)
        np.testing.assert_array_equal(colours, class_colours(labels, NAMES))
    with np.load(npz) as arrays:
        np.testing.assert_array_equal(arrays["state"], scene.state)
        np.testing.assert_array_equal(arrays["values"], scene.sdf)
        assert (arrays["lower"].tolist(), arrays["upper"].tolist()) == (list(GRID.lower), list(GRID.upper))
        assert (int(arrays["stamp_ns"]), str(arrays["frame"])) == (1_700_000_000_123_456_789, "base_link")
        assert ("classes" in arrays) is classes
        if classes:
            np.testing.assert_array_equal(arrays["classes"], scene.classes)
            assert arrays["class_names"].tolist() == list(NAMES)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SceneFileError, match=r"file/below: the scene cannot be written \(Not a directory\)"):
        write_scene(tmp_path / "file" / "below", volume(classes=False), 0, "base_link")
