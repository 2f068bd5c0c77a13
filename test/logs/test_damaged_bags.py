# SPDX-License-Identifier: Apache-2.0
"""Recordings cut or damaged at any byte: messages, or one sentence; no other exception, no whole file lost."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from selfocc_ros.logs import messages
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.records import BagError
from selfocc_ros.logs.salvage import scanner_for
from selfocc_ros.logs.writer import BagWriter

pytestmark = pytest.mark.fault

START = 1_700_000_000_000_000_000
COUNT = 6


def _mcap(folder: Path, compress: bool = True) -> Path:
    with BagWriter(folder / "drive", compress=compress) as bag:
        bag.add_topic("/tf", messages.TF)
        for i in range(COUNT):
            bag.write("/tf", START + i, messages.tf_message([("odom", "base_link", START + i, np.eye(4))]))
    return folder / "drive" / "drive.mcap"


def _plain_mcap(folder: Path) -> Path:
    return _mcap(folder, compress=False)


def _ros1(folder: Path) -> Path:
    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer1(folder / "drive.bag") as bag:
        topic = bag.add_connection("/x", "std_msgs/msg/UInt8", typestore=store)
        for i in range(COUNT):
            bag.write(topic, START + i, bytes([i]))
    return folder / "drive.bag"


def _sqlite(folder: Path) -> Path:
    store = get_typestore(Stores.ROS2_HUMBLE)
    with Writer2(folder / "drive", version=8, storage_plugin=StoragePlugin.SQLITE3) as bag:
        topic = bag.add_connection("/clock", messages.CLOCK, typestore=store)
        for i in range(COUNT):
            bag.write(topic, START + i, store.serialize_cdr(messages.clock(START + i), messages.CLOCK))
    return folder / "drive" / "drive.db3"


WRITERS = pytest.mark.parametrize("write", [_mcap, _plain_mcap, _ros1, _sqlite])


def _scanned(path: Path) -> int:
    """How many messages a scanner finds."""
    try:
        return len(list(scanner_for(path).messages()))
    except BagError:
        return 0


def _read(path: Path) -> tuple[int, str | None]:
    with Bag(path) as bag:
        return len(list(bag.messages())), bag.damage


def _records(data: bytes) -> dict[int, list[int]]:
    """Places of an MCAP file's records by their kind."""
    places: dict[int, list[int]] = {}
    at = 8
    while at < len(data) - 8:
        places.setdefault(data[at], []).append(at)
        at += 9 + int.from_bytes(data[at + 1 : at + 9], "little")
    return places


@WRITERS
def test_fault_a_file_cut_anywhere(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    source = write(tmp_path)
    size = source.stat().st_size
    counts = []
    # At every byte of the first records, then here and there.
    for length in reversed([*range(150), *range(150, size, 1 + size // 300)]):
        os.truncate(source, length)
        counts.append(_scanned(source))
    assert counts[0] == COUNT
    assert counts == sorted(counts, reverse=True)  # the less there is, the less is found
    assert counts[-1] == 0


@WRITERS
def test_fault_bytes_damaged_anywhere(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    source = write(tmp_path)
    data, path = source.read_bytes(), tmp_path / f"damaged{source.suffix}"
    draw = random.Random(0)
    for _ in range(200):
        damaged, at = bytearray(data), draw.randrange(len(data))
        damaged[at : at + draw.choice((1, 4, 8))] = bytes([draw.choice((255, draw.randrange(256)))])
        path.write_bytes(damaged[: draw.choice((len(data), at + 20))])
        assert 0 <= _scanned(path) <= COUNT


@pytest.mark.parametrize("length", [17, 20, 25, 60])
def test_fault_a_recording_cut_in_its_head_is_one_sentence(tmp_path: Path, length: int) -> None:
    (tmp_path / "cut.mcap").write_bytes(_mcap(tmp_path).read_bytes()[:length])
    with pytest.raises(BagError, match=r"holds no readable message: .*cut\.mcap is damaged: it breaks off"):
        _read(tmp_path / "cut.mcap")


@pytest.mark.parametrize("length", [2**64 - 1, 2**45, 2**31])
@pytest.mark.parametrize("cut", [False, True])
def test_fault_a_chunk_with_a_damaged_length_is_read_to_the_end(tmp_path: Path, length: int, cut: bool) -> None:
    source = _mcap(tmp_path)
    data = bytearray(source.read_bytes())
    (chunk,) = _records(data)[0x06]
    data[chunk + 1 : chunk + 9] = length.to_bytes(8, "little")
    source.write_bytes(data[: len(data) - 40] if cut else data)
    found, damage = _read(source)
    assert found == COUNT
    assert (damage is not None) == cut  # a file that is whole is found through its index, not through its lengths


def test_fault_a_damaged_length_in_a_ros1_bag(tmp_path: Path) -> None:
    source = _ros1(tmp_path)
    data = bytearray(source.read_bytes())
    data[13 + 4096 + 20 :] = b"\xff" * (len(data) - 13 - 4096 - 20)  # from the first chunk's header on
    source.write_bytes(data)
    with pytest.raises(BagError, match="is damaged: it breaks off after"):
        _read(source)


@pytest.mark.parametrize("rest", [0, 8, 12, 20, 40])
@pytest.mark.parametrize("metadata", [False, True])
def test_fault_the_last_file_of_a_split_recording_takes_no_other_with_it(
    tmp_path: Path, rest: int, metadata: bool
) -> None:
    """A recorder that is killed after a split leaves a file of a few bytes, or of none."""
    source = _mcap(tmp_path)
    data, split = source.read_bytes(), tmp_path / "split"
    split.mkdir()
    (split / "split_0.mcap").write_bytes(data)
    (split / "split_1.mcap").write_bytes(data[:rest])
    if metadata:
        told = (source.parent / "metadata.yaml").read_text()
        told = told.replace("- drive.mcap", "- split_0.mcap\n  - split_1.mcap")
        (split / "metadata.yaml").write_text(told)
    found, damage = _read(split)
    assert found == COUNT
    assert "split_1.mcap" in str(damage)
    shutil.rmtree(split)
    split.mkdir()
    for name in ("split_0.mcap", "split_1.mcap"):
        (split / name).write_bytes(data[:rest])
    with pytest.raises(BagError, match="holds no readable message"):
        _read(split)
