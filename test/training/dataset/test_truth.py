# SPDX-License-Identifier: Apache-2.0
"""Labels and masks on their way into a dataset: which are taken, where they go, and what they never touch."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from recorded_drives import START, odom_from_base

from selfocc_ros.cli import main
from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.poses import invert
from selfocc_ros.geometry.voxels import OCC3D, VoxelGrid
from selfocc_ros.logs import messages
from selfocc_ros.logs.labels import LabelNames, depth_pixels, save_label_names, write_picture, write_voxels
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.prepare import prepare
from selfocc_training.dataset.truth import find_truth, read_truth

GRID = VoxelGrid((-2.0, -2.0, -1.0), (2.0, 2.0, 1.0), (10, 10, 5))
NAMES = LabelNames(("road", "car"), 2, GRID)
MS = 1_000_000

Change = Callable[[str, int, Any], "tuple[str, Any] | None"]


@pytest.fixture
def recording(bag: Path, tmp_path: Path) -> Path:
    """The recording with an empty folder for labels beside it."""
    shutil.copytree(bag, tmp_path / "drive")
    save_label_names(tmp_path / "drive_truth", NAMES)
    return tmp_path / "drive"


def label() -> np.ndarray:
    label = np.full(GRID.shape, 2, np.uint8)
    label[:, :, 0] = 0
    return label


def test_labels_beside_a_recording_go_to_the_samples_that_they_belong_to(
    recording: Path, prepared: Path, tmp_path: Path
) -> None:
    stamps = Dataset.open(prepared).stamps_ns
    truth = tmp_path / "drive_truth"
    for off_ms in (0, 940, 960, 60_000):  # to samples at 0, 0.9 s and 1 s; and to none
        at = int(stamps[4]) + off_ms * MS
        write_voxels(truth / "voxels" / f"{at}.npz", label(), {"mask_camera": label() == 0})
    front = Dataset.open(prepared)[4].image("front")
    assert front is not None
    write_picture(truth / "classes" / "front" / f"{front.stamp_ns}.png", np.ones((36, 64), np.uint8))
    write_picture(truth / "depth" / "front" / f"{front.stamp_ns}.png", depth_pixels(np.full((36, 64), 7.5)))
    write_picture(truth / "depth" / "front" / f"{front.stamp_ns + 20 * MS}.png", depth_pixels(np.ones((36, 64))))
    prepare([recording], tmp_path / "dataset")
    dataset = Dataset.open(tmp_path / "dataset")
    assert dataset.label_names == NAMES
    assert [index for index in range(len(dataset)) if dataset.voxels(index) is not None] == [4, 13, 14]
    exact, moved = dataset.voxels(4), dataset.voxels(13)
    assert exact is not None
    assert moved is not None
    assert np.array_equal(exact.base_from_labels, np.eye(4))
    assert exact.mask_camera is not None
    at = int(stamps[4]) + 940 * MS
    expected = invert(odom_from_base(int(stamps[13]))) @ odom_from_base(at)
    assert expected[0, 3] == pytest.approx(0.4, abs=0.01)  # 40 ms at 10 m/s
    np.testing.assert_allclose(moved.base_from_labels, expected, atol=1e-3)
    classes, depth = dataset.class_map(4, "front"), dataset.depth_map(4, "front")
    assert classes is not None
    assert depth is not None
    assert (classes == 1).all()
    assert (depth == 7.5).all()
    # Nothing else knows of them.
    for name in ("index.parquet", "layout.yaml"):
        assert (tmp_path / "dataset" / name).read_bytes() == (prepared / name).read_bytes()
    assert (
        "voxels for 3 of 30 samples (at most 40 ms away), 1 class map, 1 depth map; 2 belong to no"
        in (tmp_path / "dataset" / "report.txt").read_text()
    )


def test_frames_of_sparse_truth_are_understood(bag: Path, prepared: Path, tmp_path: Path) -> None:
    sample = Dataset.open(prepared)[6]
    front = sample.image("front")
    assert front is not None
    folder = tmp_path / "gt"
    folder.mkdir()
    frame = {
        "label": np.full(OCC3D.shape, 17, np.uint8),
        "mask_camera": np.ones(OCC3D.shape, np.uint8),
        "stamp_ns": np.int64(sample.stamp_ns + 10 * MS),
        "depth_front": np.array([[3, 5, 6], [4, 4, 4], [256, 512, 1]], np.uint16),
    }
    np.savez_compressed(folder / "000.npz", **frame, depth_front_dynamic=np.array([0, 0, 1], np.uint8))
    out = tmp_path / "dataset"
    assert main(["prepare", str(bag), "--out", str(out), "--truth", str(folder), "--json", str(tmp_path / "j")]) == 0
    dataset = Dataset.open(out)
    voxels, depth = dataset.voxels(6), dataset.depth_map(6, "front")
    assert voxels is not None
    assert (voxels.free, len(voxels.classes), voxels.grid) == (17, 17, OCC3D)
    assert depth is not None
    assert (depth[4, 3], depth[4, 5]) == (1.0, 2.0)
    assert np.count_nonzero(depth) == 2  # what moves is left out


@pytest.mark.parametrize(
    ("told", "kept", "free"),
    [
        (["free", "car", "road"], ("free", "car", "road"), 0),
        (["car", "free", "road"], ("car", "free", "road"), 1),
        (["car", "road", "free"], ("car", "road"), 2),
        (["car", "road"], ("car", "road"), 2),
    ],
)
def test_a_frame_s_labels_keep_their_names_wherever_free_is(
    tmp_path: Path, told: list[str], kept: tuple[str, ...], free: int
) -> None:
    names = np.array(told)
    np.savez_compressed(tmp_path / "0.npz", label=label(), stamp_ns=np.int64(START), class_names=names)
    found = read_truth(tmp_path).names
    assert found is not None
    assert (found.classes, found.free) == (kept, free)
    for number, name in enumerate(told):
        assert number == found.free or found.classes[number] == name


def test_where_labels_lie(tmp_path: Path) -> None:
    for folder in ("night/bag", "night/truth", "day", "day_truth", "noon_truth"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "noon.mcap").touch()
    assert find_truth(tmp_path / "night" / "bag") == tmp_path / "night" / "truth"
    assert find_truth(tmp_path / "day") == tmp_path / "day_truth"
    assert find_truth(tmp_path / "noon.mcap") == tmp_path / "noon_truth"
    assert find_truth(tmp_path / "dusk.mcap") is None


def test_masks_of_a_layout_become_those_of_the_dataset(prepared: Path, bag: Path, tmp_path: Path) -> None:
    use = np.full((36, 64, 3), 255, np.uint8)
    use[27:] = 0
    (tmp_path / "rig").mkdir()
    cv2.imwrite(str(tmp_path / "rig" / "hood.png"), use)
    layout = yaml.safe_load((prepared / "layout.yaml").read_text())
    layout["cameras"]["front"]["mask"] = "hood.png"
    (tmp_path / "rig" / "layout.yaml").write_text(yaml.safe_dump(layout))
    out = tmp_path / "dataset"
    prepare([bag], out, str(tmp_path / "rig" / "layout.yaml"))
    dataset = Dataset.open(out)
    mask = dataset.ego_mask("front")
    assert mask is not None
    assert np.array_equal(mask, use[..., 0] > 0)
    assert "camera front: its mask takes 25.0% of the image" in (out / "report.txt").read_text()
    clip = dataset.clip([3], (32, 18), ("back", "front"))
    assert clip.ego_mask is not None
    assert not clip.ego_mask[1, 14:].any()
    assert clip.ego_mask[1, :13].all()
    # A mask belongs to no sample: a finished dataset takes another one, and needs the rig's folder no more.
    assert (out / "index.parquet").read_bytes() == (prepared / "index.parquet").read_bytes()
    shutil.rmtree(tmp_path / "rig")
    assert prepare([bag], out)["cameras"]["front"]["masked_share"] == 0.25


@pytest.mark.fault
def test_fault_masks_that_do_not_fit(prepared: Path, bag: Path, tmp_path: Path) -> None:
    layout = yaml.safe_load((prepared / "layout.yaml").read_text())
    layout["cameras"]["front"]["mask"] = "hood.png"
    path = tmp_path / "layout.yaml"
    path.write_text(yaml.safe_dump(layout))
    with pytest.raises(SelfOccError, match=r"the mask of camera 'front' does not exist: .*hood\.png"):
        prepare([bag], tmp_path / "dataset", str(path))
    cv2.imwrite(str(tmp_path / "hood.png"), np.zeros((18, 32), np.uint8))
    with pytest.raises(SelfOccError, match=r"hood\.png is 32x18, but the images of camera 'front' in .* are 64x36"):
        prepare([bag], tmp_path / "dataset", str(path))
    (tmp_path / "hood.png").write_text("no picture")
    with pytest.raises(SelfOccError, match="cannot be read as a picture"):
        prepare([bag], tmp_path / "dataset", str(path))


@pytest.mark.fault
def test_fault_labels_that_cannot_be_taken(recording: Path, tmp_path: Path) -> None:
    truth = tmp_path / "drive_truth"
    for spoilt, sentence in (
        (np.full(GRID.shape, 9, np.uint8), r"cannot be taken: .* has the label 9"),
        (np.zeros((2, 2, 2), np.uint8), r"cannot be taken: .* found uint8 of \(2, 2, 2\)"),
    ):
        write_voxels(truth / "voxels" / f"{START}.npz", spoilt)
        with pytest.raises(SelfOccError, match=sentence) as caught:
            prepare([recording], tmp_path / "dataset")
        assert "\n" not in str(caught.value)
    (truth / "labels.yaml").unlink()
    with pytest.raises(SelfOccError, match=r"has labels, but no labels\.yaml"):
        prepare([recording], tmp_path / "dataset")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SelfOccError, match="holds no labels: expected"):
        prepare([recording], tmp_path / "dataset", truth=tmp_path / "empty")
    with pytest.raises(SelfOccError, match="is the truth of one recording, but 2 were given"):
        prepare([recording, recording], tmp_path / "dataset", truth=truth)


@pytest.mark.fault
@pytest.mark.parametrize("form", ["folders", "frames"])
def test_fault_files_of_labels_that_are_cut_or_damaged(bag: Path, tmp_path: Path, form: str) -> None:
    truth = tmp_path / "truth"
    path = truth / "voxels" / f"{START}.npz" if form == "folders" else truth / "0.npz"
    path.parent.mkdir(parents=True)
    if form == "folders":
        save_label_names(truth, NAMES)
    np.savez_compressed(path, label=label(), stamp_ns=np.int64(START))
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[60:110] = bytes(50)
    for content in (b"", whole[: len(whole) // 2], b"PK" + bytes(100), bytes(damaged), b"no arrays"):
        path.write_bytes(content)
        with pytest.raises(SelfOccError, match=re.escape(str(path))) as caught:
            prepare([bag], tmp_path / "dataset", truth=truth)
        assert "\n" not in str(caught.value)
    np.savez_compressed(path, label=label(), stamp_ns=np.array([1, 2]))
    with pytest.raises(SelfOccError, match=re.escape(str(path))):
        prepare([bag], tmp_path / "dataset", truth=truth)


def test_labels_that_were_made_again_are_taken_again(recording: Path, prepared: Path, tmp_path: Path) -> None:
    stamp = int(Dataset.open(prepared).stamps_ns[4])
    path = tmp_path / "drive_truth" / "voxels" / f"{stamp}.npz"
    for made in (0, 1):
        write_voxels(path, np.full(GRID.shape, made, np.uint8))
        prepare([recording], tmp_path / "dataset")
        voxels = Dataset.open(tmp_path / "dataset").voxels(4)
        assert voxels is not None
        assert (voxels.label == made).all()
    # Those that did not change are left alone.
    (taken,) = (tmp_path / "dataset" / "voxels").rglob("*.npz")
    before = taken.stat().st_mtime_ns
    prepare([recording], tmp_path / "dataset")
    assert taken.stat().st_mtime_ns == before


@pytest.mark.fault
def test_fault_a_broken_transform_beside_the_odometry_costs_no_labels(
    bag: Path, prepared: Path, tmp_path: Path, rewrite: Callable[[Path, Path, Change], Path]
) -> None:
    def beside(topic: str, _: int, msg: Any) -> tuple[str, Any]:
        if topic == "/tf":
            wheel = messages.tf_message([("base_link", "wheel", START, np.eye(4))]).transforms[0]
            wheel.header.stamp, wheel.transform.rotation.w = msg.transforms[0].header.stamp, 0.0
            msg.transforms[:] = [wheel, *msg.transforms]
        return topic, msg

    stamps = Dataset.open(prepared).stamps_ns
    truth = tmp_path / "truth"
    save_label_names(truth, NAMES)
    for sample in (5, 10, 15):
        write_voxels(truth / "voxels" / f"{int(stamps[sample]) + 20 * MS}.npz", label())
    prepare([rewrite(bag, tmp_path / "broken", beside)], tmp_path / "dataset", truth=truth)
    dataset = Dataset.open(tmp_path / "dataset")
    assert [index for index in range(len(dataset)) if dataset.voxels(index) is not None] == [5, 10, 15]
