# SPDX-License-Identifier: Apache-2.0
"""Recordings into a dataset: bytes, poses, resumption, memory, errors."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from selfocc_ros.errors import SelfOccError
from selfocc_ros.logs import messages, samples
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.writer import BagWriter
from selfocc_ros.sensing.frames import CameraFrame
from selfocc_ros.town.rigs import RigSpec
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import time_of
from selfocc_ros.town.write import write_drive as write_town
from selfocc_training.dataset import drive as drive_module
from selfocc_training.dataset import parquet
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.drive import Source
from selfocc_training.dataset.prepare import prepare

Rewrite = Callable[..., Path]


def test_jpeg_bytes_are_those_of_the_recording(bag: Path, prepared: Path) -> None:
    recorded = {}
    with Bag(bag) as opened:
        for topic, _, msg in opened.messages():
            if topic.endswith("compressed"):
                stamp = msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec
                recorded[topic.split("/")[2], stamp] = bytes(msg.data)
    dataset = Dataset.open(prepared)
    kept = {(i.name, i.stamp_ns): (prepared / i.file).read_bytes() for s in dataset.samples("train") for i in s.images}
    assert len(dataset) == 30
    assert kept == recorded
    assert not list(prepared.rglob("*.part"))


def test_raw_images_become_jpegs(bag: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    def decode(topic: str, _: int, msg: Any) -> tuple[str, Any]:
        if not topic.endswith("compressed"):
            return topic, msg
        stamp = msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec
        pixels = cv2.imdecode(msg.data, cv2.IMREAD_COLOR)
        return topic.removesuffix("/compressed"), messages.image(stamp, msg.header.frame_id, pixels, "bgr8")

    raw = rewrite(bag, tmp_path / "raw", decode)
    prepare([raw], tmp_path / "dataset")
    file = Dataset.open(tmp_path / "dataset")[5].images[0].file
    with Bag(raw) as opened:
        first = next(msg for topic, _, msg in opened.messages() if topic == "/camera/front/image")
    found = cv2.imread(str(tmp_path / "dataset" / file)).astype(float)
    assert np.abs(found - first.data.reshape(found.shape)).mean() < 4.0


def test_poses_are_the_towns(tmp_path: Path) -> None:
    camera = {"width": 64, "height": 36, "hfov": 80.0, "position": [1.4, 0.0, 1.4], "yaw": 0.0}
    # The second camera fires two transforms after the first one: its pose is known exactly at its own stamp too.
    left = {**camera, "yaw": 90.0, "offset": 0.02}
    spec = RigSpec.from_dict({"name": "two", "cameras": {"front": camera, "left": left}})
    bag = write_town(5, 1.0, spec, tmp_path / "night", jitter=False)
    description = prepare([bag], tmp_path / "dataset", "town")
    assert [drive["name"] for drive in description["drives"]] == ["night"]
    town, dataset = Town(5, seconds=1.0), Dataset.open(tmp_path / "dataset")
    assert len(dataset) == 10
    for sample in dataset.samples("train"):
        truth = town.drive.odom_from_base(time_of(sample.stamp_ns))
        np.testing.assert_allclose(sample.odom_from_base, truth, atol=1e-6)
        assert [image.name for image in sample.images] == ["front", "left"]
        for image in sample.images:
            mount = dict(spec.cameras)[image.name].base_from_camera()
            there = town.drive.odom_from_base(time_of(image.stamp_ns)) @ mount
            np.testing.assert_allclose(image.odom_from_camera, there, atol=1e-6)
            np.testing.assert_allclose(sample.odom_from_base @ image.base_from_camera, there, atol=1e-6)
    driven = town.drive.distance(0.9) - town.drive.distance(0.0)
    assert dataset.distance_m[-1] == pytest.approx(driven, abs=0.03)


def test_resume_after_an_interruption_gives_the_same_index(bag: Path, prepared: Path, tmp_path: Path) -> None:
    def stop(_: str, count: int) -> None:
        if count == 12:
            raise KeyboardInterrupt

    root = tmp_path / "dataset"
    with pytest.raises(KeyboardInterrupt):
        prepare([bag], root, tell=stop)
    with pytest.raises(SelfOccError, match="not complete"):
        Dataset.open(root)
    written = {path: path.stat().st_mtime_ns for path in root.rglob("*.jpg")}
    assert len(written) >= 30
    prepare([bag], root)
    assert (root / "index.parquet").read_bytes() == (prepared / "index.parquet").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert {path.relative_to(root) for path in root.rglob("*")} == {
        p.relative_to(prepared) for p in prepared.rglob("*")
    }


@pytest.mark.fault
@pytest.mark.parametrize("raw", [False, True])
def test_fault_images_that_a_power_cut_emptied_are_written_again(
    bag: Path, rewrite: Rewrite, tmp_path: Path, raw: bool
) -> None:
    def decode(topic: str, _: int, msg: Any) -> tuple[str, Any]:
        if not raw or not topic.endswith("compressed"):
            return topic, msg
        stamp = msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec
        pixels = cv2.imdecode(msg.data, cv2.IMREAD_COLOR)
        return topic.removesuffix("/compressed"), messages.image(stamp, msg.header.frame_id, pixels, "bgr8")

    def stop(_: str, count: int) -> None:
        if count == 12:
            raise KeyboardInterrupt

    recording, root = rewrite(bag, tmp_path / "drive", decode), tmp_path / "dataset"
    with pytest.raises(KeyboardInterrupt):
        prepare([recording], root, tell=stop)
    emptied, cut, whole = sorted(root.rglob("*.jpg"))[:3]
    contents = {path: path.read_bytes() for path in (emptied, cut, whole)}
    emptied.write_bytes(b"")
    if not raw:
        cut.write_bytes(contents[cut][:-40])
    modified = whole.stat().st_mtime_ns
    prepare([recording], root)
    assert {path: path.read_bytes() for path in contents} == contents
    assert whole.stat().st_mtime_ns == modified


def test_resume_of_a_finished_dataset_reads_nothing_and_adds_what_is_new(
    bag: Path, prepared: Path, rewrite: Rewrite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "dataset"
    prepare([bag, bag], root)
    assert (root / "index.parquet").read_bytes() == (prepared / "index.parquet").read_bytes()
    other = rewrite(bag, tmp_path / "drive", lambda *m: None if m[0].startswith("/camera/left") else (m[0], m[2]))
    opened: list[Path] = []
    original = drive_module.open_recording

    def noted(path: Path, layout: Any) -> Any:
        opened.append(path)
        return original(path, layout)

    monkeypatch.setattr(drive_module, "open_recording", noted)
    description = prepare([bag, other], root)
    assert opened == [other]
    assert [drive["name"] for drive in description["drives"]] == ["drive", "drive-2"]
    keys = [(sample.drive, sample.stamp_ns) for sample in Dataset.open(root).samples("train")]
    assert len(set(keys)) == len(keys) == 60


def test_a_folder_and_the_file_in_it_are_one_recording(bag: Path, prepared: Path, tmp_path: Path) -> None:
    copy, root = tmp_path / "drive", tmp_path / "dataset"
    shutil.copytree(bag, copy)
    (file,) = copy.glob("*.mcap")
    assert prepare([copy, file], root)["samples"] == 30
    (copy / "metadata.yaml").unlink()
    (copy / "notes.txt").write_text("sunny")
    assert prepare([copy], root)["samples"] == 30
    assert prepare([file.rename(tmp_path / "monday.mcap")], root)["samples"] == 30
    assert (root / "index.parquet").read_bytes() == (prepared / "index.parquet").read_bytes()


def test_a_dataset_whose_fingerprint_is_of_all_files_goes_on(bag: Path, tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    prepare([bag], root)
    state, former = root / "drives" / "drive.json", Source.former_fingerprint(bag)
    state.write_text(state.read_text().replace(Source.of(bag).fingerprint, former))
    (drive,) = prepare([bag], root)["drives"]
    assert drive["source"]["fingerprint"] == former != Source.of(bag).fingerprint


def test_a_drive_that_was_recorded_in_a_loop_is_taken_once(bag: Path, prepared: Path, tmp_path: Path) -> None:
    with Bag(bag) as opened, BagWriter(tmp_path / "drive") as looped:
        recorded = list(opened.messages())
        length = recorded[-1].receive_ns - recorded[0].receive_ns + 100_000_000
        for delay in (0, length):
            for topic, receive_ns, msg in recorded:
                if topic not in looped.topics:
                    looped.add_topic(topic, msg.__msgtype__)
                looped.write(topic, receive_ns + delay, msg)
    prepare([tmp_path / "drive"], tmp_path / "dataset")
    found, expected = Dataset.open(tmp_path / "dataset"), Dataset.open(prepared)
    assert np.isin(found.stamps_ns, expected.stamps_ns).all()
    assert len(np.unique(found.stamps_ns)) == len(found) >= len(expected) - 1


def test_memory_holds_a_few_images_however_long_the_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recorded_drives import write_drive

    alive: weakref.WeakSet[CameraFrame] = weakref.WeakSet()
    most = 0
    original = samples.camera_frame

    def counted(*args: Any) -> CameraFrame:
        nonlocal most
        frame = original(*args)
        alive.add(frame)
        most = max(most, len(alive))
        return frame

    monkeypatch.setattr(samples, "camera_frame", counted)
    prepare([write_drive(tmp_path / "long", seconds=20.0)], tmp_path / "dataset")
    assert len(Dataset.open(tmp_path / "dataset")) == 200
    assert most <= 3 * 5  # cameras, and 0.3 s of each at 10 Hz with its neighbours


def test_a_camera_that_fails_now_and_then_is_missing_there(bag: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    count = 0

    def cut(topic: str, _: int, msg: Any) -> tuple[str, Any]:
        nonlocal count
        if topic == "/camera/left/image/compressed":
            count += 1
            if count % 3 == 0:
                msg.data = msg.data[:-40]
        return topic, msg

    prepare([rewrite(bag, tmp_path / "cut", cut)], tmp_path / "dataset")
    dataset = Dataset.open(tmp_path / "dataset")
    assert sum(sample.missing == ("left",) for sample in dataset.samples("train")) == 10
    assert "cut off" in (tmp_path / "dataset" / "report.txt").read_text()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda topic: "compressed" in topic, "has no images: expected topics of sensor_msgs Image"),
        (lambda topic: "camera_info" in topic, "has no CameraInfo beside its images"),
        (lambda topic: topic == "/tf", "without odometry: no image has a pose through odom -> base_link"),
    ],
)
def test_fault_recordings_that_cannot_be_trained_on(
    bag: Path, rewrite: Rewrite, tmp_path: Path, spoil: Callable[[str], bool], sentence: str
) -> None:
    spoilt = rewrite(bag, tmp_path / "spoilt", lambda *m: None if spoil(m[0]) else (m[0], m[2]))
    with pytest.raises(SelfOccError, match=sentence) as caught:
        prepare([spoilt], tmp_path / "dataset")
    assert str(spoilt) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.fault
def test_fault_foreign_folders_and_recordings_that_are_none(bag: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(SelfOccError, match="exists and is no dataset"):
        prepare([bag], tmp_path / "home")
    with pytest.raises(SelfOccError, match="nowhere does not exist"):
        prepare([tmp_path / "nowhere"], tmp_path / "dataset")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


@pytest.mark.fault
def test_fault_a_full_disk_is_told_in_one_sentence(bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SelfOccError, match="the disk is full; what is done is kept"):
        prepare([bag], tmp_path / "dataset")


@pytest.mark.fault
@pytest.mark.parametrize("most", [0, 40, 200, 1000, 5000, 30_000])
def test_fault_files_that_cannot_be_written_to_their_end(bag: Path, prepared: Path, tmp_path: Path, most: int) -> None:
    """Each limit (bytes of a file) stops another file: dataset.json, the layout, images, rows, the report."""
    root = tmp_path / "dataset"
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, unlimited[1]))
        with pytest.raises(SelfOccError, match="dataset cannot be written: "):
            prepare([bag], root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    prepare([bag], root)
    assert (root / "index.parquet").read_bytes() == (prepared / "index.parquet").read_bytes()
    names = {path.relative_to(root) for path in root.rglob("*")}
    assert names == {path.relative_to(prepared) for path in prepared.rglob("*")}


@pytest.mark.fault
def test_fault_pyarrow_absent(bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(parquet.importlib, "import_module", absent)
    with pytest.raises(SelfOccError, match=r"pip install 'selfocc_ros\[train\]'"):
        prepare([bag], tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()
