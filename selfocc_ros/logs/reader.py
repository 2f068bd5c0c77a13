# SPDX-License-Identifier: Apache-2.0
"""Reads recordings of ROS 1 and ROS 2 without ROS: topics, messages, times; damaged files as far as they go.

Everything comes out in ROS 2 form: type names, field names (`k`, not `K`) and, for raw messages, CDR bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import apsw
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection, ConnectionExtRosbag1, MessageDefinitionFormat, QosDurability, QosReliability
from rosbags.rosbag1 import ReaderError as ReaderError1
from rosbags.rosbag2 import ReaderError as ReaderError2
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from selfocc_ros.logs.bag1 import ChunkedReader
from selfocc_ros.logs.records import BagError, RawMessage, TopicInfo, ros2_type
from selfocc_ros.logs.salvage import Channel, Salvaged, ZstdError, scanner_for

# What the container readers raise on bytes that are not what they should be.
_READ_FAILURES = (
    AnyReaderError, ReaderError1, ReaderError2, TypesysError, apsw.Error, ZstdError, struct.error,
    AssertionError, EOFError, IndexError, KeyError, OSError, RuntimeError, TypeError, ValueError,
    MemoryError, OverflowError,  # a damaged length
)  # fmt: skip
_DECODE_FAILURES = (SerdeError, TypesysError, struct.error, IndexError, ValueError, KeyError, TypeError, AssertionError)


class Message(NamedTuple):
    """A message of a recording: topic, receive time in ns, and the deserialised ROS 2 message."""

    topic: str
    receive_ns: int
    msg: Any


class Bag:
    """A recording, read from the front: `with Bag(path) as bag: for topic, receive_ns, msg in bag.messages([...])`.

    Args:
        path: a rosbag2 directory (sqlite3 or MCAP, with or without its metadata.yaml), a single .mcap or .db3 file,
            or a ROS 1 .bag.

    Attributes:
        damage: None, or one sentence that says what of the recording cannot be read. It may also appear only after
            `messages` has come to the damaged place.

    Raises BagError on entering if there is nothing readable.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damage: str | None = None
        self.start_ns = 0
        self.end_ns = 0
        self._reader: AnyReader | None = None
        self._files: list[Path] = []
        self._topics: dict[str, TopicInfo] = {}
        self._humble = get_typestore(Stores.ROS2_HUMBLE)
        self._own: Typestore = get_typestore(Stores.EMPTY)
        self._unknown: set[str] = set()

    def __enter__(self) -> Bag:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last receive time."""
        return (self.end_ns - self.start_ns) * 1e-9

    def topics(self) -> dict[str, TopicInfo]:
        """Topics by name, in alphabetical order."""
        return dict(sorted(self._topics.items()))

    def open(self) -> None:
        """Open the recording and read what it holds; done by `with`."""
        self._files = _recorded_files(self.path)
        reader: AnyReader | None = None
        try:
            path = self.path if self.path.suffix == ".bag" or (self.path / "metadata.yaml").exists() else None
            if path is None and len(self._files) == 1:
                path = self._files[0]
            if path is None:
                raise AnyReaderError("it has no metadata.yaml")
            reader = AnyReader([path], default_typestore=self._humble)
            if not reader.is2:
                reader.readers = [ChunkedReader(path)]
            reader.open()
            self._adopt(reader)
        except _READ_FAILURES as error:
            if reader is not None and reader.stack is not None:
                reader.close()
            self._salvage(str(error))

    def close(self) -> None:
        """Close the recording; done by `with`."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """Deserialised messages in receive order, of the given topics or of all.

        A message that cannot be deserialised is left out and `damage` says so.
        """
        for topic, kind, receive_ns, data in self.raw_messages(topics):
            try:
                yield Message(topic, receive_ns, self.deserialize(kind, data))
            except _DECODE_FAILURES as error:
                self._note(f"{self.path}: a {kind} on {topic} cannot be decoded ({error}); such messages are left out")

    def raw_messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """CDR-serialised messages in receive order, of the given topics or of all. ROS 1 messages are converted."""
        wanted = set(self._topics if topics is None else topics)
        if self._reader is None:
            yield from self._salvaged(wanted)
            return
        connections = [c for c in self._reader.connections if c.topic in wanted and c.topic in self._topics]
        last_ns = -1
        if not connections:
            return
        try:
            for connection, receive_ns, data in self._reader.messages(connections):
                last_ns = receive_ns
                message = self._to_cdr(connection.topic, connection.msgtype, receive_ns, data, self._reader.is2)
                if message is not None:
                    yield message
        except _READ_FAILURES as error:
            self._note(f"{self.path} is damaged from {(last_ns - self.start_ns) * 1e-9:.2f} s on: {error}")
            for message in self._salvaged(wanted):
                if message.receive_ns > last_ns:
                    yield message

    def deserialize(self, kind: str, data: bytes | memoryview) -> Any:
        """The ROS 2 message in CDR bytes of the given type."""
        return self._store(kind).deserialize_cdr(data, kind)

    def _store(self, kind: str) -> Typestore:
        return self._humble if kind in self._humble.fielddefs else self._own

    def _to_cdr(self, topic: str, kind: str, receive_ns: int, data: bytes, is_ros2: bool) -> RawMessage | None:
        kind = ros2_type(kind)
        if not is_ros2:
            try:
                data = bytes(self._store(kind).ros1_to_cdr(data, kind))
            except _DECODE_FAILURES as error:
                self._note(f"{self.path}: a {kind} on {topic} cannot be decoded ({error}); such messages are left out")
                return None
        return RawMessage(topic, kind, receive_ns, data)

    def _adopt(self, reader: AnyReader) -> None:
        """Take over an intact reader."""
        self._reader = reader
        self._learn(dict(reader.typestore.fielddefs))
        for connection in reader.connections:
            defined = connection.msgdef.format != MessageDefinitionFormat.NONE
            if not reader.is2 or defined or connection.msgtype in self._humble.fielddefs:
                old = self._topics.get(connection.topic)
                latched, reliable = _offered(connection)
                self._topics[connection.topic] = TopicInfo(
                    ros2_type(connection.msgtype), connection.msgcount + (old.count if old else 0), latched, reliable
                )
        if reader.message_count:
            self.start_ns, self.end_ns = reader.start_time, reader.end_time - 1

    def _salvage(self, reason: str) -> None:
        """Go through the files from front to back to see what can be had of them."""
        counts: dict[str, int] = {}
        channels: dict[str, Channel] = {}
        low, high = 2**63, -1
        for channel, receive_ns, _ in self._scanned():
            if channel.topic not in channels:
                channels[channel.topic] = channel
                self._register(channel)
            counts[channel.topic] = counts.get(channel.topic, 0) + 1
            low, high = min(low, receive_ns), max(high, receive_ns)
        if counts:
            self._note(f"{self.path} was not closed properly ({reason}): it is read without its index")
        else:
            raise BagError(f"{self.path} holds no readable message: {self.damage or reason}")
        self.start_ns, self.end_ns = low, high
        for topic, channel in channels.items():
            latched = channel.latched or topic == "/tf_static"
            self._topics[topic] = TopicInfo(ros2_type(channel.type), counts[topic], latched)

    def _register(self, channel: Channel) -> None:
        kind = ros2_type(channel.type)
        if not channel.definition or kind in self._own.fielddefs or kind in self._humble.fielddefs:
            return
        try:
            text = channel.definition
            self._learn(get_types_from_idl(text) if channel.idl else get_types_from_msg(text, kind))
        except _DECODE_FAILURES as error:
            self._note(f"{self.path}: the definition of {channel.type} cannot be read ({error})")

    def _learn(self, types: dict[str, Any]) -> None:
        """Keep what Humble lacks; what it knows stays as it has it (a Header of ROS 1 has a `seq`)."""
        known = {**self._own.fielddefs, **self._humble.fielddefs}
        self._own.register({k: known.get(k, v) for k, v in types.items() if k not in self._own.fielddefs})

    def _salvaged(self, wanted: set[str]) -> Iterator[RawMessage]:
        for channel, receive_ns, data in self._scanned():
            if channel.topic in wanted:
                message = self._to_cdr(channel.topic, channel.type, receive_ns, data, not channel.ros1)
                if message is not None:
                    yield message

    def _scanned(self) -> Iterator[Salvaged]:
        """Every readable message of all files, front to back; of several files, one may be unreadable as a whole."""
        for file in self._files:
            scanner = scanner_for(file)
            try:
                yield from scanner.messages()
            except BagError as error:
                if len(self._files) == 1:
                    raise
                self._note(str(error))
            if scanner.damage:
                self._note(scanner.damage)

    def _note(self, sentence: str) -> None:
        self.damage = self.damage or sentence


def _offered(connection: Connection) -> tuple[bool, bool]:
    """(latched, reliable) of a connection's offered QoS; /tf_static is latched whatever the recorder wrote."""
    latched, reliable = connection.topic == "/tf_static", True
    if isinstance(connection.ext, ConnectionExtRosbag1):
        return latched or connection.ext.latching == 1, reliable
    for profile in connection.ext.offered_qos_profiles:
        latched = latched or profile.durability == QosDurability.TRANSIENT_LOCAL
        reliable = reliable and profile.reliability != QosReliability.BEST_EFFORT
    return latched, reliable


def _recorded_files(path: Path) -> list[Path]:
    """The storage files of a recording, in the order in which they were recorded."""
    if not path.exists():
        raise BagError(f"{path} does not exist: expected a rosbag2 directory, a .mcap or .db3 file, or a ROS 1 .bag")
    if path.is_file():
        scanner_for(path)  # says what is wrong with a foreign suffix
        return [path]
    for suffix in (".mcap", ".db3"):
        # bag_10.mcap comes after bag_9.mcap
        files = sorted(path.glob(f"*{suffix}"), key=lambda p: (len(p.name), p.name))
        if files:
            return files
    compressed = next(path.glob("*.zstd"), None)
    if compressed is not None and (path / "metadata.yaml").exists():
        return []
    raise BagError(f"{path} holds no recording: expected a rosbag2 directory with .mcap or .db3 files in it")
