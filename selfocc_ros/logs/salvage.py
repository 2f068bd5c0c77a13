# SPDX-License-Identifier: Apache-2.0
"""Reads damaged recordings from front to back, without their index, as far as they can be read.

A recorder that was killed, or a copy that broke off, leaves a file without the index that ordinary readers start from.
The messages before the damage are intact, so the scanners here walk the records in file order: MCAP (https://mcap.dev/spec),
ROS 1 bag format 2.0 (http://wiki.ros.org/Bags/Format/2.0) and SQLite tables of rosbag2.
A chunk that is cut is decompressed as far as its bytes reach; a chunk that is wrong inside is left out.
"""

from __future__ import annotations

import bz2
import sqlite3
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

from selfocc_ros.logs.records import BagError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@dataclass(frozen=True)
class Channel:
    """A topic as a damaged file describes it; `definition` is empty where the file holds none."""

    topic: str
    type: str
    definition: str
    ros1: bool
    latched: bool = False
    idl: bool = False


class Salvaged(NamedTuple):
    """One readable message: its channel, receive time in ns and serialised bytes (ROS 1 or CDR, see channel)."""

    channel: Channel
    receive_ns: int
    data: bytes


class _CutError(Exception):
    """The file ends here, or what follows is not a record."""


class _Decompressor(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


ZstdError = zstd.ZstdError
_STEP = 1 << 16
_LONGEST = 1 << 30
"""No recorder writes longer records; where a damaged length says so, no more than this is read of it."""
_DECOMPRESS_ERRORS = (ZstdError, OSError, EOFError, RuntimeError, ValueError)


def _read(file: BinaryIO, length: int, size: int) -> bytes:
    """At most `length` bytes: a damaged length can be anything, but a file of `size` bytes has no more than it has."""
    return file.read(min(length, max(size - file.tell(), 0), _LONGEST))


def _decompressor(name: str) -> _Decompressor:
    if name == "zstd":
        return zstd.ZstdDecompressor()
    if name == "lz4":
        engine: _Decompressor = LZ4FrameDecompressor()
        return engine
    if name == "bz2":
        return bz2.BZ2Decompressor()
    raise _CutError(f"a chunk has the unknown compression {name!r}")


def _inflate(data: bytes, compression: str) -> tuple[bytes, bool]:
    """Decompress as far as possible; returns the bytes and whether the end of the stream was reached."""
    if compression in ("", "none"):
        return data, True
    engine, parts = _decompressor(compression), []
    for start in range(0, len(data), _STEP):
        try:
            parts.append(engine.decompress(data[start : start + _STEP]))
        except _DECOMPRESS_ERRORS:
            return b"".join(parts), False
    return b"".join(parts), bool(getattr(engine, "eof", True))


class _Bytes:
    """A cursor over bytes that says so when they end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + size]
        if len(piece) < size:
            raise _CutError("a record is cut off")
        self.at += size
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def text(self) -> str:
        return self.take(self.number(4)).decode(errors="replace")

    @property
    def left(self) -> int:
        return len(self.data) - self.at


class McapScanner:
    """Walks the records of an MCAP file; `damage` says afterwards where it had to stop."""

    MAGIC = b"\x89MCAP0\r\n"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: str | None = None
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._channels: dict[int, Channel] = {}

    def messages(self) -> Iterator[Salvaged]:
        """Every readable message in file order. Raises BagError where the file is no ROS 2 MCAP at all."""
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            if file.read(8) != self.MAGIC:
                raise BagError(f"{self.path} is not an MCAP file: its first bytes are not the MCAP magic")
            while True:
                at = file.tell()
                head = file.read(9)
                op, length = (head[0], int.from_bytes(head[1:], "little")) if len(head) == 9 else (0, 0)
                if op in (0x02, 0x0F):  # footer or end of data: nothing but the index follows
                    return
                if not 1 <= op <= 0x0F:
                    self.damage = f"{self.path} is damaged: it breaks off after {at} of {size} bytes"
                    return
                data = _read(file, length, size)
                try:
                    if op == 0x01:
                        self._check_profile(data)
                    elif op == 0x06:
                        yield from self._chunk(data, at, complete=len(data) == length)
                    elif len(data) == length:
                        message = self._record(op, data)
                        if message:
                            yield message
                except _CutError as cut:
                    self.damage = f"{self.path} is damaged: at byte {at} {cut}"
                if len(data) < length:
                    self.damage = f"{self.path} is damaged: it breaks off after {size} bytes, in the middle of a record"
                    return

    def _check_profile(self, data: bytes) -> None:
        profile = _Bytes(data).text()
        if profile not in ("ros2", ""):
            raise BagError(f'{self.path} is an MCAP file of profile {profile!r}, expected profile "ros2"')

    def _chunk(self, data: bytes, at: int, complete: bool) -> Iterator[Salvaged]:
        cursor = _Bytes(data)
        cursor.take(8 + 8 + 8 + 4)
        compression = cursor.text()
        cursor.take(8)
        raw, whole = _inflate(cursor.data[cursor.at :], compression)
        if not whole and complete:
            self.damage = f"{self.path} is damaged: the chunk at byte {at} cannot be decompressed to its end"
        inner, found = _Bytes(raw), []
        try:
            while inner.left:
                op, length = inner.number(1), inner.number(8)
                message = self._record(op, inner.take(length))
                if message:
                    found.append(message)
        except _CutError:
            if complete:
                self.damage = f"{self.path} is damaged: the chunk at byte {at} holds a record that is cut off"
        yield from sorted(found, key=lambda m: m.receive_ns)

    def _record(self, op: int, data: bytes) -> Salvaged | None:
        cursor = _Bytes(data)
        if op == 0x03:
            key = cursor.number(2)
            self._schemas[key] = (cursor.text(), cursor.text(), cursor.text())
        elif op == 0x04:
            key, schema = cursor.number(2), cursor.number(2)
            topic, encoding, metadata = cursor.text(), cursor.text(), _Bytes(cursor.take(cursor.number(4)))
            name, form, definition = self._schemas.get(schema, ("", "", ""))
            latched = False
            while metadata.left:
                word, value = metadata.text(), metadata.text()
                if word == "offered_qos_profiles":
                    latched = any(x in value for x in ("durability: 1", "durability: transient_local"))
            if encoding == "cdr" and name:
                self._channels[key] = Channel(topic, name, definition, False, latched, idl=form != "ros2msg")
        elif op == 0x05:
            channel = self._channels.get(cursor.number(2))
            if channel:
                cursor.take(4)
                receive = cursor.number(8)
                if receive >= 1 << 63:
                    raise _CutError("a message has an impossible time")
                cursor.take(8)
                return Salvaged(channel, receive, cursor.take(cursor.left))
        return None


class Bag1Scanner:
    """Walks the records of a ROS 1 bag (format 2.0); `damage` says afterwards where it had to stop."""

    MAGIC = b"#ROSBAG V2.0\n"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: str | None = None
        self._channels: dict[int, Channel] = {}

    def messages(self) -> Iterator[Salvaged]:
        """Every readable message in file order. Raises BagError where the file is no ROS 1 bag at all."""
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            if file.read(len(self.MAGIC)) != self.MAGIC:
                raise BagError(f'{self.path} is not a ROS 1 bag: its first line is not "#ROSBAG V2.0"')
            while True:
                at = file.tell()
                lead = file.read(4)
                if not lead and at == size and self.damage is None:
                    return
                header = _read(file, int.from_bytes(lead, "little"), size) if len(lead) == 4 else b""
                fields = self._fields(header)
                count = file.read(4)
                if not fields or len(count) < 4:
                    self.damage = f"{self.path} is damaged: it breaks off after {at} of {size} bytes"
                    return
                length = int.from_bytes(count, "little")
                data = _read(file, length, size)
                try:
                    if fields.get("op") == b"\x05":
                        yield from self._chunk(fields, data, at)
                    elif fields.get("op") == b"\x07" and len(data) == length:
                        self._connection(fields, data)
                except _CutError as cut:
                    self.damage = f"{self.path} is damaged: at byte {at} {cut}"
                if len(data) < length:
                    self.damage = f"{self.path} is damaged: it breaks off after {size} bytes, in the middle of a record"
                    return

    @staticmethod
    def _fields(header: bytes) -> dict[str, bytes]:
        cursor, fields = _Bytes(header), {}
        try:
            while cursor.left:
                name, _, value = cursor.take(cursor.number(4)).partition(b"=")
                fields[name.decode(errors="replace")] = value
        except _CutError:
            return {}
        return fields

    def _connection(self, fields: dict[str, bytes], data: bytes) -> None:
        inner = self._fields(data)
        if not {"conn", "topic"} <= fields.keys() or "type" not in inner:
            raise _CutError("a connection says no number, topic or type")
        self._channels[int.from_bytes(fields["conn"], "little")] = Channel(
            fields["topic"].decode(errors="replace"), inner["type"].decode(errors="replace"),
            inner.get("message_definition", b"").decode(errors="replace"),
            ros1=True, latched=inner.get("latching") == b"1",
        )  # fmt: skip

    def _chunk(self, fields: dict[str, bytes], data: bytes, at: int) -> Iterator[Salvaged]:
        raw, _ = _inflate(data, fields.get("compression", b"none").decode(errors="replace"))
        cursor, found = _Bytes(raw), []
        try:
            while cursor.left:
                inner = self._fields(cursor.take(cursor.number(4)))
                body = cursor.take(cursor.number(4))
                if inner.get("op") == b"\x07":
                    self._connection(inner, body)
                elif inner.get("op") == b"\x02" and len(inner.get("time", b"")) == 8:
                    channel = self._channels.get(int.from_bytes(inner.get("conn", b""), "little"))
                    seconds, nanoseconds = struct.unpack("<II", inner["time"])
                    if channel:
                        found.append(Salvaged(channel, seconds * 10**9 + nanoseconds, body))
        except _CutError:
            self.damage = f"{self.path} is damaged: the chunk at byte {at} is cut off"
        yield from sorted(found, key=lambda m: m.receive_ns)


class Sqlite3Scanner:
    """Reads the tables of a rosbag2 .db3 row by row until the database gives out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: str | None = None

    def messages(self) -> Iterator[Salvaged]:
        """Every readable message in the order it was recorded. Raises BagError where no table can be read."""
        database = sqlite3.connect(f"file:{self.path}?immutable=1", uri=True)
        try:
            # SQLite refuses a file shorter than its header says, unless schema repairs are allowed. Nothing is written.
            database.execute("PRAGMA writable_schema=ON")
            channels = {
                key: Channel(topic, kind, self._definition(database, kind), ros1=False)
                for key, topic, kind in self._topics(database)
            }
            try:
                rows = database.execute("SELECT topic_id, timestamp, data FROM messages NOT INDEXED")
                for topic, stamp, data in rows:
                    if topic in channels and isinstance(stamp, int) and isinstance(data, bytes):
                        yield Salvaged(channels[topic], stamp, data)
            except sqlite3.DatabaseError as error:
                self.damage = f"{self.path} is damaged: the database gives out before its end ({error})"
        finally:
            database.close()

    def _topics(self, database: sqlite3.Connection) -> list[tuple[int, str, str]]:
        try:
            return database.execute("SELECT id, name, type FROM topics").fetchall()
        except sqlite3.DatabaseError as error:
            raise BagError(f"{self.path} cannot be read as a rosbag2 database: {error}") from error

    @staticmethod
    def _definition(database: sqlite3.Connection, name: str) -> str:
        query = "SELECT encoded_message_definition FROM message_definitions WHERE topic_type=? AND encoding='ros2msg'"
        try:
            row = database.execute(query, (name,)).fetchone()
        except sqlite3.DatabaseError:  # older recordings have no such table: the built-in definitions are used
            row = None
        return str(row[0]) if row else ""


Scanner = McapScanner | Bag1Scanner | Sqlite3Scanner


def scanner_for(path: Path) -> Scanner:
    """The scanner for a recording's file, chosen by its suffix."""
    kinds: dict[str, type[Scanner]] = {".mcap": McapScanner, ".bag": Bag1Scanner, ".db3": Sqlite3Scanner}
    if path.suffix not in kinds:
        raise BagError(f"{path} is not a recording: expected a .mcap, .db3 or .bag file, or a rosbag2 directory")
    return kinds[path.suffix](path)
