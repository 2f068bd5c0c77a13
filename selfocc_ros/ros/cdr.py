# SPDX-License-Identifier: Apache-2.0
"""Reads the little of serialised messages that can be had without deserialising them."""

from __future__ import annotations

import importlib
import struct
from typing import Any


def header_stamp_ns(data: bytes | memoryview) -> int:
    """Header stamp in nanoseconds of a serialised message that starts with a std_msgs/Header.

    CDR: four bytes of encapsulation, the second of which tells the byte order, then sec (int32) and nanosec (uint32).
    """
    order = "<" if data[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(order + "iI", data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def message_class(name: str) -> Any | None:
    """The Python class of a type such as `sensor_msgs/msg/Image`; None where its package is not installed."""
    package, _, rest = name.partition("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), rest.rpartition("/")[2], None)
    except ImportError:
        return None
