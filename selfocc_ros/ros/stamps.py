# SPDX-License-Identifier: Apache-2.0
"""Times as ROS messages hold them."""

from __future__ import annotations

from builtin_interfaces.msg import Time


def time_message(stamp_ns: int) -> Time:
    """builtin_interfaces/Time of nanoseconds since the epoch."""
    seconds, nanoseconds = divmod(int(stamp_ns), 1_000_000_000)
    return Time(sec=seconds, nanosec=nanoseconds)
