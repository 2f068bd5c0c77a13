# SPDX-License-Identifier: Apache-2.0
"""Writes rosbag2 recordings (MCAP) that `ros2 bag play` of Humble and later reads, without ROS.

Chunks of 1 MiB go to the disk as they fill, so a recording of any length needs no more memory than one chunk.
Metadata is version 8, whose QoS profiles are text as Humble expects them; versions from 9 on are not read there.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, WriterError
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore

from selfocc_ros.logs.records import BagError

_FOREVER = QosTime(9223372036, 854775807)  # RMW_DURATION_INFINITE


def _qos(latched: bool, reliable: bool) -> Qos:
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 10,
        reliability=QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )


class BagWriter:
    """A new rosbag2 directory: `with BagWriter(path) as bag: bag.add_topic(...); bag.write(...)`.

    Args:
        path: the directory to create; its parents too. It must not exist, or, with `replace`, may be a recording.
        compress: zstd compression of chunks (JPEG images stay as large as they are, clouds and grids shrink).
        replace: delete a recording that is already there. Anything else at `path` is never deleted.
        whole: the recording appears at `path` when it is closed, and not at all after an error. Until then it is
            written below `<path>.part`; what a killed process has left there is replaced.

    Raises BagError where the directory cannot be made.
    """

    def __init__(self, path: str | Path, compress: bool = True, replace: bool = False, whole: bool = False) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(f"{self.path.name}.part") if whole else None
        # rosbag2 names the file after its directory, so that one has its final name from the start.
        self._folder = self._part / self.path.name if self._part else self.path
        self._open = True
        try:
            if replace and self.path.is_dir():
                _delete_recording(self.path)
            if self._part and self._folder.is_dir():
                _delete_recording(self._folder)
            if self._part and self.path.exists():
                raise WriterError(f"{self.path} exists already, not overwriting.")
            self._writer = Writer(self._folder, version=8, storage_plugin=StoragePlugin.MCAP)
            if compress:
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except (WriterError, OSError) as error:
            raise BagError(f"cannot write a recording to {self.path}: {error}") from error
        self._store = get_typestore(Stores.ROS2_HUMBLE)
        self._topics: dict[str, Connection] = {}

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.close()
            else:
                # Closed on an error too: what was recorded up to then stays readable. The first error says why.
                with suppress(WriterError, OSError):
                    self._finish()
        finally:
            if self._part is not None:
                shutil.rmtree(self._part, ignore_errors=True)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics added so far."""
        return tuple(self._topics)

    def add_topic(self, topic: str, kind: str, latched: bool = False, reliable: bool = True) -> None:
        """Declare a topic before its first message.

        Args:
            kind: ROS 2 type name (`sensor_msgs/msg/CompressedImage`), one of Humble's own types.
            latched: offered as transient_local. /tf_static always is.
            reliable: offered as reliable, otherwise best effort.
        """
        if topic in self._topics:
            raise BagError(f"topic {topic} was added to {self.path} twice")
        if kind not in self._store.fielddefs:
            raise BagError(f"topic {topic}: {kind} is not a message type of ROS 2 Humble")
        profiles = [_qos(latched or topic == "/tf_static", reliable)]
        self._topics[topic] = self._writer.add_connection(
            topic, kind, typestore=self._store, offered_qos_profiles=profiles
        )

    def write(self, topic: str, receive_ns: int, msg: Any) -> None:
        """Append a message made by `selfocc_ros.logs.messages` (or read by `Bag.messages`)."""
        connection = self._connection(topic)
        try:
            data = self._store.serialize_cdr(msg, connection.msgtype)
        except (SerdeError, AttributeError, TypeError, AssertionError) as error:
            raise BagError(f"the message for {topic} is not a {connection.msgtype}: {error}") from error
        self._append(connection, receive_ns, data)

    def write_cdr(self, topic: str, kind: str, receive_ns: int, data: bytes | memoryview) -> None:
        """Append serialised bytes as they came over DDS; declares the topic if it is new."""
        if topic not in self._topics:
            self.add_topic(topic, kind)
        self._append(self._connection(topic), receive_ns, data)

    def close(self) -> None:
        """Write the index and metadata.yaml; done by `with`. Twice does no harm.

        Raises BagError where the disk takes no more.
        """
        if not self._open:
            return
        try:
            self._finish()
            if self._part is not None:
                self._folder.rename(self.path)
                self._part.rmdir()
        except (WriterError, OSError) as error:
            raise BagError(f"cannot write to {self.path}: {error}") from error

    def _finish(self) -> None:
        if not self._open:
            return
        self._open = False
        if not self._topics or not any(self._writer.counts.values()):
            # An empty recording would otherwise claim to start in the year 2262.
            self._writer.min_timestamp = self._writer.max_timestamp = 0
        self._writer.close()

    def _connection(self, topic: str) -> Connection:
        if topic not in self._topics:
            raise BagError(f"topic {topic} was not added to {self.path} before its first message")
        return self._topics[topic]

    def _append(self, connection: Connection, receive_ns: int, data: bytes | memoryview) -> None:
        try:
            self._writer.write(connection, receive_ns, data)
        except (WriterError, OSError) as error:
            raise BagError(f"cannot write to {self.path}: {error}") from error


def _delete_recording(path: Path) -> None:
    own = ("metadata.yaml", "metadata.yaml.tmp")  # the second is left where the disk was full
    strangers = [p.name for p in path.iterdir() if p.suffix not in (".mcap", ".db3") and p.name not in own]
    if strangers:
        raise BagError(f"{path} is not replaced: beside a recording it holds {sorted(strangers)[0]}")
    shutil.rmtree(path)
