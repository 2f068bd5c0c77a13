# SPDX-License-Identifier: Apache-2.0
"""Reads ROS 1 bags in receive order with memory for a few chunks, however many messages there are.

A bag ends with an entry for each chunk: where it is, when its first message came, which topics it has. After each chunk
lies an index of its messages (http://wiki.ros.org/Bags/Format/2.0). rosbags' reader takes up all indexes when it opens
a bag, 170 bytes of memory a message; here that of a chunk is read when its time has come. Tools write chunks in any
order, and several may overlap in time: their messages are merged.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Generator
from heapq import heappop, heappush
from io import BytesIO
from typing import BinaryIO

from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader, ReaderError
from rosbags.rosbag1.reader import ChunkInfo, Header, IndexData, RecordType, read_bytes, read_uint32

_KEPT_BYTES = 16 << 20
"""Unpacked chunks may take so much together; one alone may be larger."""

_INDEX_HEAD = 51
"""Bytes of an index record before its length; rosbags asserts them, too."""

_Entry = tuple[int, int, int]
"""Receive time in ns, place of the chunk in the file, place of the message in the chunk."""


class ChunkedReader(Reader):
    """rosbags' reader without its index of all messages."""

    @property
    def _file(self) -> BinaryIO:
        if self.bio is None:
            raise ReaderError(f"{self.path} is not open")
        return self.bio

    def open(self) -> None:
        """Read what the end of the file tells of connections and chunks."""
        super().open()
        counts: Counter[int] = Counter()
        for info in self.chunk_infos:
            counts.update(info.connection_counts)
        self.connections = [connection._replace(msgcount=counts[connection.id]) for connection in self.connections]

    def read_index_data(self, pos: int, indexes: dict[int, list[IndexData]]) -> None:  # noqa: ARG002
        """Pass over an index; `open` would keep it."""
        read_bytes(self._file, _INDEX_HEAD)
        self._file.seek(read_uint32(self._file), os.SEEK_CUR)

    def messages(
        self, connections: Collection[Connection] = (), start: int | None = None, stop: int | None = None
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """(connection, receive time in ns, bytes) in receive order, of the given connections or of all."""
        wanted = {connection.id: connection for connection in connections or self.connections}
        chunks = [info for info in self.chunk_infos if not wanted.keys().isdisjoint(info.connection_counts)]
        # Reversed, so that each is let go when its turn has come.
        chunks.sort(key=lambda info: (info.start_time, info.pos), reverse=True)
        waiting: list[_Entry] = []
        left: Counter[int] = Counter()  # messages by the place of their chunk
        unpacked: dict[int, BytesIO] = {}
        while chunks or waiting:
            if chunks and (not waiting or waiting[0][0] >= chunks[-1].start_time):
                for entry in self._index(chunks.pop(), wanted):
                    if (start is None or entry[0] >= start) and (stop is None or entry[0] < stop):
                        heappush(waiting, entry)
                        left[entry[1]] += 1
                continue
            time_ns, place, offset = heappop(waiting)
            if place not in unpacked:
                self._unpack(place, unpacked)
            yield self._message(unpacked[place], offset, time_ns, wanted)
            left[place] -= 1
            if not left[place]:
                del left[place], unpacked[place]

    def _index(self, info: ChunkInfo, wanted: Collection[int]) -> list[_Entry]:
        """The wanted messages of a chunk."""
        chunk = self.chunks[info.pos]
        self._file.seek(chunk.datapos + chunk.datasize)
        indexes: dict[int, list[IndexData]] = {key: [] for key in info.connection_counts}
        for _ in info.connection_counts:
            super().read_index_data(info.pos, indexes)
        return [(item.time, info.pos, item.offset) for key, items in indexes.items() if key in wanted for item in items]

    def _unpack(self, place: int, unpacked: dict[int, BytesIO]) -> None:
        """Put a chunk among the unpacked ones, in the room of others where these are too large together."""
        chunk = self.chunks[place]
        self._file.seek(chunk.datapos)
        data = BytesIO(chunk.decompressor(read_bytes(self._file, chunk.datasize)))
        while unpacked and sum(len(other.getbuffer()) for other in (data, *unpacked.values())) > _KEPT_BYTES:
            del unpacked[next(iter(unpacked))]
        unpacked[place] = data

    @staticmethod
    def _message(
        chunk: BytesIO, offset: int, time_ns: int, wanted: dict[int, Connection]
    ) -> tuple[Connection, int, bytes]:
        chunk.seek(offset)
        header = Header.read(chunk)
        while header.get_uint8("op") == RecordType.CONNECTION:
            chunk.seek(read_uint32(chunk), os.SEEK_CUR)
            header = Header.read(chunk)
        if header.get_uint8("op") != RecordType.MSGDATA or header.get_time("time") != time_ns:
            raise ReaderError(f"there is no message at byte {offset} of a chunk")
        return wanted[header.get_uint32("conn")], time_ns, read_bytes(chunk, read_uint32(chunk))
