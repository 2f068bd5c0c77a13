# SPDX-License-Identifier: Apache-2.0
"""An environment in which ROS processes speak to each other and to nobody else. No rclpy in here.

A demo or a test must never speak to a robot on the same network, nor to another demo on the same machine: everything
stays on loopback, and each session has a ROS_DOMAIN_ID to itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from selfocc_ros.errors import SelfOccError

#: Above 101 the ports of a domain reach Linux's ephemeral ports; 0 is where robots usually are.
DOMAINS = range(1, 102)
_PORT_BASE, _PORTS_PER_DOMAIN, _FIRST_UNICAST = 7400, 250, 10  # DDSI-RTPS 2.2, section 9.6.1.1


class DomainError(SelfOccError):
    """No ROS_DOMAIN_ID is free on this machine."""


@contextlib.contextmanager
def own_domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other session of this package and no DDS participant of this machine uses.

    Starts looking at a number derived from the process id; a lock file holds the number while the context lasts, so
    two sessions that start at once do not get the same one.
    """
    for attempt in range(len(DOMAINS)):
        domain = DOMAINS[(os.getpid() + attempt) % len(DOMAINS)]
        path = Path(tempfile.gettempdir()) / f"selfocc_ros_domain_{domain}.lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError:
            continue  # somebody else's file, on a machine with several users
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        try:
            if _is_quiet(domain):
                yield domain
                return
        finally:
            os.close(lock)
    raise DomainError(f"all ROS domains from {DOMAINS[0]} to {DOMAINS[-1]} are in use on this machine")


def environment(domain: int) -> dict[str, str]:
    """The variables that keep a process in `domain` and on loopback (one spelling before Jazzy, one since)."""
    return {
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOCALHOST_ONLY": "1",
    }


def _is_quiet(domain: int) -> bool:
    """Whether the port of the domain's first participant is free."""
    port = _PORT_BASE + _PORTS_PER_DOMAIN * domain + _FIRST_UNICAST
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
