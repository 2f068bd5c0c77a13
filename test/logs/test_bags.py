# SPDX-License-Identifier: Apache-2.0
"""Recordings: what is written is read back, in every container, and damaged files as far as they go."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import yaml
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from selfocc_ros.logs import messages
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.records import BagError
from selfocc_ros.logs.writer import BagWriter

START = 1_700_000_000_000_000_000
STEP = 100_000_000
COUNT = 40
IMAGE_TOPIC = "/camera/front/image/compressed"

SmallDisk = Callable[..., AbstractContextManager[Callable[[int], None]]]


def _payload(i: int) -> bytes:
    """Bytes that do not compress, so that the recording has several chunks."""
    return b"\xff\xd8" + np.random.default_rng(i).integers(0, 256, 200_000, dtype=np.uint8).tobytes()


def _write(path: Path, compress: bool = True) -> Path:
    with BagWriter(path, compress=compress) as bag:
        bag.add_topic("/tf_static", messages.TF)
        bag.add_topic(IMAGE_TOPIC, messages.COMPRESSED_IMAGE)
        bag.add_topic("/odom", messages.ODOMETRY, reliable=False)
        bag.write("/tf_static", START, messages.tf_message([("base_link", "camera", START, np.eye(4))]))
        for i in range(COUNT):
            now = START + i * STEP
            bag.write(IMAGE_TOPIC, now + 5, messages.compressed_image(now, "camera", _payload(i)))
            bag.write("/odom", now + 6, messages.odometry(now, "odom", "base_link", np.eye(4), linear=(2.0, 0, 0)))
    return path


def _write_ros1(path: Path) -> Path:
    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer1(path) as bag:
        info = bag.add_connection("/cam/camera_info", "sensor_msgs/msg/CameraInfo", typestore=store)
        image = bag.add_connection("/cam/image_raw", "sensor_msgs/msg/Image", typestore=store)
        kinds = store.types
        for i in range(COUNT):
            header = kinds["std_msgs/msg/Header"](
                seq=i, stamp=kinds["builtin_interfaces/msg/Time"](sec=1_700_000_000 + i, nanosec=7), frame_id="cam"
            )
            roi = kinds["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
            calibration = kinds['sensor_msgs/msg/CameraInfo'](
                header=header, height=100, width=200, distortion_model='plumb_bob', D=np.zeros(5),
                K=np.array([150.0, 0, 99.5, 0, 150, 49.5, 0, 0, 1]), R=np.eye(3).reshape(-1), P=np.zeros(12),
                binning_x=0, binning_y=0, roi=roi,
            )  # fmt: skip
            pixels = kinds['sensor_msgs/msg/Image'](
                header=header, height=100, width=200, encoding='rgb8', is_bigendian=0, step=600,
                data=np.full(60000, i, np.uint8),
            )  # fmt: skip
            now = START + i * STEP
            bag.write(info, now, store.serialize_ros1(calibration, info.msgtype))
            bag.write(image, now, store.serialize_ros1(pixels, image.msgtype))
    return path


def _write_sqlite(path: Path) -> Path:
    store = get_typestore(Stores.ROS2_HUMBLE)
    with Writer2(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as bag:
        image = bag.add_connection(IMAGE_TOPIC, messages.COMPRESSED_IMAGE, typestore=store)
        for i in range(COUNT):
            msg = messages.compressed_image(START + i * STEP, "camera", _payload(i))
            bag.write(image, START + i * STEP, store.serialize_cdr(msg, image.msgtype))
    return path


def _cut(path: Path, fraction: float, to: Path) -> Path:
    data = path.read_bytes()
    to.write_bytes(data[: int(len(data) * fraction)])
    return to


def _images(path: Path) -> tuple[list[int], str | None]:
    """Indices of the images that can be read, each compared with what was written, and the damage."""
    with Bag(path) as bag:
        found = []
        for topic, receive_ns, msg in bag.messages([IMAGE_TOPIC]):
            assert topic == IMAGE_TOPIC
            index = (receive_ns - START) // STEP
            assert bytes(msg.data) == _payload(index)
            found.append(index)
        return found, bag.damage


@pytest.mark.parametrize("compress", [True, False])
def test_what_is_written_is_read_back(tmp_path: Path, compress: bool) -> None:
    path = _write(tmp_path / "drive", compress)
    with Bag(path) as bag:
        topics = bag.topics()
        assert list(topics) == sorted([IMAGE_TOPIC, "/odom", "/tf_static"])
        assert topics[IMAGE_TOPIC].type == messages.COMPRESSED_IMAGE
        assert topics[IMAGE_TOPIC].count == COUNT
        assert topics["/tf_static"].latched
        assert not topics[IMAGE_TOPIC].latched
        assert topics[IMAGE_TOPIC].reliable
        assert not topics["/odom"].reliable
        assert bag.start_ns == START
        assert bag.end_ns == START + (COUNT - 1) * STEP + 6
        received = list(bag.messages())
        assert [m.receive_ns for m in received] == sorted(m.receive_ns for m in received)
        assert len(received) == 2 * COUNT + 1
        assert bag.damage is None
        odometry = next(m.msg for m in received if m.topic == "/odom")
        assert odometry.child_frame_id == "base_link"
        assert odometry.twist.twist.linear.x == 2.0
    assert _images(path) == (list(range(COUNT)), None)


def test_a_written_recording_suits_rosbag2_of_humble(tmp_path: Path) -> None:
    path = _write(tmp_path / "drive")
    assert sorted(p.name for p in path.iterdir()) == ["drive.mcap", "metadata.yaml"]
    info = yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert info["version"] == 8
    assert info["storage_identifier"] == "mcap"
    assert info["relative_file_paths"] == ["drive.mcap"]
    assert info["compression_mode"] == ""
    profiles = {}
    for entry in info["topics_with_message_count"]:
        offered = entry["topic_metadata"]["offered_qos_profiles"]
        assert isinstance(offered, str)  # Humble parses text; a list arrived with version 9
        profiles[entry["topic_metadata"]["name"]] = yaml.safe_load(offered)[0]
    # rmw's enums: durability 1 = transient_local, 2 = volatile; reliability 1 = reliable, 2 = best effort
    assert profiles["/tf_static"]["durability"] == 1
    assert profiles["/tf_static"]["reliability"] == 1
    assert profiles[IMAGE_TOPIC]["durability"] == 2
    assert profiles["/odom"]["reliability"] == 2
    with AnyReader([path]) as reader:  # definitions are embedded: no default typestore is needed
        assert "builtin_interfaces/Time stamp" in reader.topics["/odom"].msgdef.data


def test_writing_does_not_hold_the_recording_in_memory(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive") as bag:
        bag.add_topic(IMAGE_TOPIC, messages.COMPRESSED_IMAGE)
        for i in range(COUNT):
            bag.write(IMAGE_TOPIC, START + i, messages.compressed_image(START + i, "camera", _payload(i)))
        written = (tmp_path / "drive" / "drive.mcap").stat().st_size
    assert written > (COUNT - 10) * 200_000


def test_a_single_file_and_a_directory_without_metadata_are_recordings(tmp_path: Path) -> None:
    path = _write(tmp_path / "drive")
    assert _images(path / "drive.mcap") == (list(range(COUNT)), None)
    (path / "metadata.yaml").unlink()
    assert _images(path)[0] == list(range(COUNT))


def test_ros1_messages_come_in_ros2_form(tmp_path: Path) -> None:
    with Bag(_write_ros1(tmp_path / "drive.bag")) as bag:
        assert bag.topics()["/cam/camera_info"].type == messages.CAMERA_INFO
        received = list(bag.messages(["/cam/camera_info"]))
        assert len(received) == COUNT
        assert bag.damage is None
        assert received[3].msg.k[0] == 150.0
        assert received[3].msg.header.stamp.sec == 1_700_000_003
        raw = next(iter(bag.raw_messages(["/cam/image_raw"])))
        assert bag.deserialize(raw.type, raw.data).data[100] == 0


@pytest.mark.parametrize("fraction", [0.2, 0.55, 0.98])
def test_fault_truncated_mcap_yields_what_is_readable(tmp_path: Path, fraction: float) -> None:
    path = _write(tmp_path / "drive")
    found, damage = _images(_cut(path / "drive.mcap", fraction, tmp_path / "cut.mcap"))
    # zstd frames are cut in the middle of a block of at most 128 KiB: at most two images are lost beyond the cut
    assert found == list(range(len(found)))
    assert len(found) >= COUNT * fraction - 3
    assert damage is not None
    assert "cut.mcap is damaged" in damage
    assert "bytes" in damage


def test_fault_recording_that_was_never_closed(tmp_path: Path) -> None:
    """A recorder that was killed leaves a directory without metadata.yaml and a file without index."""
    path = _write(tmp_path / "drive")
    _cut(path / "drive.mcap", 0.7, path / "drive.mcap")
    (path / "metadata.yaml").unlink()
    found, damage = _images(path)
    assert len(found) >= 25
    assert damage is not None


def test_fault_truncated_file_beside_its_metadata(tmp_path: Path) -> None:
    path = _write(tmp_path / "drive")
    _cut(path / "drive.mcap", 0.7, path / "drive.mcap")
    found, damage = _images(path)
    assert len(found) >= 25
    assert damage is not None
    assert "damaged" in damage


def test_fault_damaged_chunk_is_left_out(tmp_path: Path) -> None:
    path = _write(tmp_path / "drive")
    data = bytearray((path / "drive.mcap").read_bytes())
    frame = data.index(b"\x28\xb5\x2f\xfd", len(data) // 2)  # the magic of a zstd frame
    data[frame : frame + 8] = bytes(8)
    (path / "drive.mcap").write_bytes(bytes(data))
    with Bag(path) as bag:
        stamps = [m.receive_ns for m in bag.messages([IMAGE_TOPIC])]
        assert bag.damage is not None
    assert stamps == sorted(set(stamps))
    assert stamps[0] == START + 5
    assert stamps[-1] == START + (COUNT - 1) * STEP + 5
    assert COUNT - 7 <= len(stamps) < COUNT


@pytest.mark.parametrize("fraction", [0.3, 0.8])
def test_fault_truncated_sqlite_yields_what_is_readable(tmp_path: Path, fraction: float) -> None:
    path = _write_sqlite(tmp_path / "drive")
    found, damage = _images(_cut(path / "drive.db3", fraction, tmp_path / "cut.db3"))
    assert found == list(range(len(found)))
    assert len(found) >= COUNT * fraction - 3
    assert damage is not None
    assert "cut.db3" in damage


@pytest.mark.parametrize("fraction", [0.3, 0.8])
def test_fault_truncated_ros1_bag_yields_what_is_readable(tmp_path: Path, fraction: float) -> None:
    path = _cut(_write_ros1(tmp_path / "drive.bag"), fraction, tmp_path / "cut.bag")
    with Bag(path) as bag:
        assert bag.damage is not None
        assert "cut.bag" in bag.damage
        found = list(bag.messages(["/cam/image_raw"]))
        assert [int(m.msg.data[0]) for m in found] == list(range(len(found)))
        assert len(found) >= COUNT * fraction - 3
        assert next(iter(bag.messages(["/cam/camera_info"]))).msg.k[0] == 150.0


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone", None, "gone does not exist"),
        ("notes.txt", b"hello", "notes.txt is not a recording"),
        ("empty.mcap", b"", "not an MCAP file"),
        ("noise.mcap", b"\x00" * 500, "not an MCAP file"),
        ("noise.bag", b"\x00" * 500, "not a ROS 1 bag"),
        ("noise.db3", b"\x00" * 5000, "noise.db3"),
        ("head.mcap", b"\x89MCAP0\r\n", "no readable message"),
    ],
)
def test_fault_nothing_readable_is_one_sentence(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BagError, match=says) as caught, Bag(tmp_path / name):
        pass
    assert "\n" not in str(caught.value)


def test_fault_folder_without_recording(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="holds no recording"), Bag(tmp_path):
        pass


def test_fault_mcap_of_another_world(tmp_path: Path) -> None:
    header = (9).to_bytes(4, "little") + b"protobuf1" + (0).to_bytes(4, "little")
    record = b"\x01" + len(header).to_bytes(8, "little") + header
    (tmp_path / "foreign.mcap").write_bytes(b"\x89MCAP0\r\n" + record)
    with pytest.raises(BagError, match="profile 'protobuf1'"), Bag(tmp_path / "foreign.mcap"):
        pass


def test_the_writer_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive") as bag:
        bag.add_topic("/a", messages.TF)
        with pytest.raises(BagError, match="/a was added"):
            bag.add_topic("/a", messages.TF)
        with pytest.raises(BagError, match="my_msgs/msg/Mine is not a message type"):
            bag.add_topic("/b", "my_msgs/msg/Mine")
        with pytest.raises(BagError, match="/c was not added"):
            bag.write("/c", 0, messages.clock(0))
        with pytest.raises(BagError, match="not a tf2_msgs/msg/TFMessage"):
            bag.write("/a", 0, messages.clock(0))
    with pytest.raises(BagError, match="exists already"):
        BagWriter(tmp_path / "drive")
    BagWriter(tmp_path / "drive", replace=True).close()
    (tmp_path / "drive" / "diary.txt").write_text("dear diary")
    with pytest.raises(BagError, match=r"diary\.txt"):
        BagWriter(tmp_path / "drive", replace=True)


def test_recorded_bytes_are_written_as_they_came(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_HUMBLE)
    data = store.serialize_cdr(messages.clock(START), messages.CLOCK)
    with BagWriter(tmp_path / "drive") as bag:
        bag.write_cdr("/clock", messages.CLOCK, START, data)
    with Bag(tmp_path / "drive") as bag:
        (raw,) = bag.raw_messages()
        assert bytes(raw.data) == bytes(data)
        assert raw.type == messages.CLOCK
        assert raw.receive_ns == START


def test_a_whole_recording_appears_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "drive"
    for number in (1, 2):
        with BagWriter(path, replace=True, whole=True) as bag:
            bag.add_topic("/clock", messages.CLOCK)
            for _ in range(number):
                bag.write("/clock", START, messages.clock(START))
            assert not path.exists()
        assert [p.name for p in tmp_path.iterdir()] == ["drive"]
        with Bag(path) as bag:
            assert bag.topics()["/clock"].count == number
            assert bag.damage is None
    with pytest.raises(BagError, match="exists already"):
        BagWriter(path, whole=True)


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_fault_a_whole_recording_that_is_not_finished_leaves_nothing(tmp_path: Path, stop: type[BaseException]) -> None:
    def fail() -> None:
        with BagWriter(tmp_path / "drive", whole=True) as bag:
            bag.add_topic("/clock", messages.CLOCK)
            bag.write("/clock", START, messages.clock(START))
            raise stop

    with pytest.raises(stop):
        fail()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("room", [100, 2_000_000])
@pytest.mark.parametrize("whole", [False, True])
def test_fault_a_full_disk_is_one_sentence(tmp_path: Path, small_disk: SmallDisk, room: int, whole: bool) -> None:
    """While a chunk is written, or when the rest is at the end."""

    def fill() -> None:
        with BagWriter(tmp_path / "drive", whole=whole) as bag:
            bag.add_topic(IMAGE_TOPIC, messages.COMPRESSED_IMAGE)
            for i in range(3 if room == 100 else COUNT):
                bag.write(IMAGE_TOPIC, START + i * STEP, messages.compressed_image(START, "camera", _payload(i)))

    with small_disk(room), pytest.raises(BagError, match=f"cannot write to {tmp_path / 'drive'}: .*File too large"):
        fill()
    assert (tmp_path / "drive").exists() != whole
    if not whole and room > 100:
        assert _images(tmp_path / "drive")[0]
        BagWriter(tmp_path / "drive", replace=True).close()


def test_a_failing_writer_leaves_a_readable_recording(tmp_path: Path) -> None:
    def fail() -> None:
        with BagWriter(tmp_path / "drive") as bag:
            bag.add_topic("/clock", messages.CLOCK)
            bag.write("/clock", START, messages.clock(START))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with Bag(tmp_path / "drive") as bag:
        assert bag.topics()["/clock"].count == 1
