# SPDX-License-Identifier: Apache-2.0
"""Images at the network's size on disk: the same pixels, decoded once, and never trusted blindly."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from selfocc_ros.cli import main
from selfocc_training.config import DataConfig
from selfocc_training.dataset import seen
from selfocc_training.dataset.cache import ImageCache
from selfocc_training.dataset.clips import DatasetClips
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.seen import fill_cache
from selfocc_training.town_clips import ClipPlan

SIZE = (32, 24)


@pytest.fixture
def dataset(prepared: Path, tmp_path: Path) -> Dataset:
    shutil.copytree(prepared, tmp_path / "dataset")
    return Dataset.open(tmp_path / "dataset")


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of images whenever some are decoded."""
    counts: list[int] = []
    original = seen.preprocess
    monkeypatch.setattr(seen, "preprocess", lambda s, size: counts.append(len(s.frames)) or original(s, size))
    return counts


def test_an_image_is_decoded_once_and_stays_what_it_is(dataset: Dataset, decodings: list[int]) -> None:
    cache = ImageCache(dataset.root, SIZE)
    plain = dataset.clip([3, 4], SIZE, ("left", "front"))
    first = dataset.clip([3, 4], SIZE, ("left", "front"), cache=cache)
    assert decodings == [2, 2, 2, 2]
    again = dataset.clip([3, 4, 5], SIZE, ("back", "left", "front"), cache=ImageCache(dataset.root, SIZE))
    assert decodings[4:] == [1, 1, 3]
    for clip in (first, again):
        assert np.array_equal(clip.images[:2, -2:], plain.images)
        assert np.array_equal(clip.intrinsics[-2:], plain.intrinsics)
        assert np.array_equal(clip.odom_from_camera[:2, -2:], plain.odom_from_camera)
    dataset.clip([3, 4], (16, 12), ("left",), cache=ImageCache(dataset.root, (16, 12)))
    assert decodings[7:] == [1, 1]  # another size is another cache


@pytest.mark.fault
def test_fault_a_record_that_is_not_whole_is_decoded_again(dataset: Dataset, decodings: list[int]) -> None:
    cache = ImageCache(dataset.root, SIZE)
    plain = dataset.clip([0, 1], SIZE, ("front",), cache=cache)
    (file,) = dataset.root.glob("cache/*/drive/front.raw")
    data = bytearray(file.read_bytes())
    data[100] ^= 255
    file.write_bytes(data[:-50])  # the first is damaged, the second cut off
    del decodings[:]
    assert np.array_equal(dataset.clip([0, 1], SIZE, ("front",), cache=cache).images, plain.images)
    assert decodings == [1, 1]
    dataset.clip([0, 1], SIZE, ("front",), cache=cache)
    assert decodings == [1, 1]


@pytest.mark.fault
def test_fault_where_nothing_can_be_written_images_are_decoded_each_time(
    dataset: Dataset, decodings: list[int]
) -> None:
    (dataset.root / "cache").write_text("a file where the folder would be")
    cache, said = ImageCache(dataset.root, SIZE), list[str]()
    cache.warn = said.append
    for _ in range(2):
        dataset.clip([0], SIZE, ("front",), cache=cache)
    assert decodings == [1, 1]
    assert said == [cache.trouble]
    assert said[0].startswith(f"{dataset.root / 'cache'} takes no more images at the network's size (")


@pytest.mark.fault
@pytest.mark.parametrize("room", [0, 1000])
def test_fault_a_disk_that_fills_up_ends_the_command_but_not_training(
    dataset: Dataset, bag: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], room: int
) -> None:
    """Of the record that fills the disk, a part is written; of the next ones nothing."""
    original, written = os.pwrite, 0

    def fill(handle: int, data: bytes, at: int) -> int:
        nonlocal written
        part = data[: room - written]
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += len(part)
        return original(handle, part, at)

    monkeypatch.setattr(os, "pwrite", fill)
    json_file = dataset.root.parent / "j.json"
    arguments = ["prepare", str(bag), "--out", str(dataset.root), "--cache", "32x24", "--json", str(json_file)]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "take 0." not in captured.out
    assert captured.err.endswith("takes no more images at the network's size (No space left on device)\n")
    assert json_file.exists()  # the dataset is there
    written = 0
    data = DataConfig(clip=ClipPlan(frames=3, spacing_m=0.9, width=32, height=24), widest_gap=1)
    clips, said = DatasetClips(dataset, data), list[str]()
    clips.cache.warn = said.append
    assert len([clips[number] for number in range(len(clips))]) == len(clips)
    assert len(said) == 1


def test_clips_use_it_and_tell_what_it_costs(dataset: Dataset, decodings: list[int]) -> None:
    data = DataConfig(clip=ClipPlan(frames=3, spacing_m=0.9, width=32, height=24), widest_gap=1)
    used = fill_cache(dataset, SIZE)
    assert sum(decodings) == 90
    clips = DatasetClips(dataset, data, kept_bytes=1)
    for number in range(len(clips)):
        clips[number]
    assert sum(decodings) == 90
    assert clips.cache_bytes == used == 90 * (3 * 32 * 24 + 16)
    assert sum(file.stat().st_size for file in dataset.root.glob("cache/*/*/*.raw")) == used


def test_the_command_fills_it(bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "dataset"
    assert main(["prepare", str(bag), "--out", str(out), "--cache", "32x24"]) == 0
    assert "cache: images of 32x24 take 0.2 MB" in capsys.readouterr().out
    assert main(["prepare", str(bag), "--out", str(out), "--cache", "large"]) == 2
    assert "--cache needs a network's input size like 320x192, found 'large'" in capsys.readouterr().err
