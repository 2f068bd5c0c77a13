# SPDX-License-Identifier: Apache-2.0
"""Memory does not grow with the messages of a recording, and hardly with its images."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from selfocc_ros.logs import bag1, messages
from selfocc_ros.logs.bag1 import ChunkedReader
from selfocc_ros.logs.check import Check
from selfocc_ros.logs.check_report import CheckReport
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.samples import SampleReader
from selfocc_ros.sensing.discovery import CameraTopics
from selfocc_ros.sensing.frames import CameraFrame

START = 1_700_000_000_000_000_000
TEXT = (400).to_bytes(4, "little") + b"x" * 400


def _ros1(path: Path, count: int) -> Path:
    with Writer1(path) as bag:
        topic = bag.add_connection("/x", "std_msgs/msg/String", typestore=get_typestore(Stores.ROS1_NOETIC))
        for i in range(count):
            bag.write(topic, START + i * 1000, TEXT)
    return path


def _rosbag2(path: Path, count: int, plugin: StoragePlugin) -> Path:
    store = get_typestore(Stores.ROS2_HUMBLE)
    data = store.serialize_cdr(messages.compressed_image(START, "camera", TEXT), messages.COMPRESSED_IMAGE)
    with Writer2(path, version=8, storage_plugin=plugin) as bag:
        topic = bag.add_connection("/x", messages.COMPRESSED_IMAGE, typestore=store)
        for i in range(count):
            bag.write(topic, START + i * 1000, data)
    return path


def _mcap(path: Path, count: int) -> Path:
    return _rosbag2(path, count, StoragePlugin.MCAP)


def _sqlite(path: Path, count: int) -> Path:
    return _rosbag2(path, count, StoragePlugin.SQLITE3)


def _peak(work: Callable[[], None]) -> int:
    """Bytes of memory that `work` takes at its height."""
    gc.collect()  # what earlier tests have left is not to be cleared away, with a warning, while this counts
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("write", [_ros1, _mcap, _sqlite])
def test_reading_takes_no_memory_for_each_message(tmp_path: Path, write: Callable[[Path, int], Path]) -> None:
    def read(path: Path, count: int) -> None:
        with Bag(path) as bag, Bag(path) as ahead:
            assert sum(1 for _ in bag.raw_messages()) == count
            assert sum(1 for _ in ahead.raw_messages()) == count

    few, many = 5_000, 15_000  # 2 and 6 MB
    paths = {count: write(tmp_path / f"{count}.bag", count) for count in (few, many)}
    read(paths[few], few)  # what is loaded once
    peaks = {count: _peak(lambda count=count: read(paths[count], count)) for count in (few, many)}
    assert (peaks[many] - peaks[few]) / (many - few) < 10


@pytest.mark.parametrize("compression", [None, *Writer1.CompressionFormat])
def test_a_ros1_bag_is_read_in_receive_order_whatever_the_order_of_its_chunks(
    tmp_path: Path, compression: Writer1.CompressionFormat | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Converters write one topic after the other."""
    path, store = tmp_path / "drive.bag", get_typestore(Stores.ROS1_NOETIC)
    draw = np.random.default_rng(0)
    written: list[tuple[int, str, bytes]] = []
    bag = Writer1(path)
    if compression is not None:
        bag.set_compression(compression)
    with bag:
        for topic, step, shift in (("/slow", 700, 3), ("/fast", 100, 0), ("/once", 10**9, 5000)):
            connection = bag.add_connection(topic, "std_msgs/msg/String", typestore=store)
            for i in range(3500 * 100 // step + 1):
                text = draw.integers(97, 123, 1000, dtype=np.uint8).tobytes()
                written.append((START + shift + i * step, topic, (1000).to_bytes(4, "little") + text))
                bag.write(connection, written[-1][0], written[-1][2])
    if compression is None:
        monkeypatch.setattr(bag1, "_KEPT_BYTES", 1)  # room for one chunk alone
    with ChunkedReader(path) as reader:
        assert len(reader.chunk_infos) > 3
        assert {c.topic: c.msgcount for c in reader.connections} == {"/slow": 501, "/fast": 3501, "/once": 1}
        assert [(time_ns, c.topic, data) for c, time_ns, data in reader.messages()] == sorted(written)
        slow = [connection for connection in reader.connections if connection.topic == "/slow"]
        found = [time_ns for _, time_ns, _ in reader.messages(slow, START + 1000, START + 9000)]
        assert found == [
            time_ns for time_ns, topic, _ in written if topic == "/slow" and 1000 <= time_ns - START < 9000
        ]


def test_a_check_keeps_two_numbers_of_an_image(tmp_path: Path) -> None:
    _ros1(tmp_path / "drive.bag", 1)
    reader = SampleReader(tmp_path / "drive.bag")
    reader.cameras["front"] = CameraTopics("/front/image", "/front/camera_info", compressed=False)
    count = 20_000

    def check() -> None:
        check = Check(reader, CheckReport("drive"))
        for i in range(count):
            check.add_frame(CameraFrame("front", START + i, "front_optical", "jpeg", b""), START + i + 5)

    assert _peak(check) / count < 24
