# SPDX-License-Identifier: Apache-2.0
"""A place for one thing: the newest. Between the thread that receives and the thread that works."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Holds at most one item; putting a second one replaces the first, so a slow taker never falls behind."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._poked = False

    def put(self, item: T) -> bool:
        """Leave the newest item; True if it replaces one that nobody has taken."""
        with self._changed:
            replaced = self._item is not None
            self._item = item
            self._changed.notify()
        return replaced

    def take(self) -> T | None:
        """Wait for an item and take it; None when poked before there is one, and once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._poked or self._closed)
            item, self._item, self._poked = self._item, None, False
            return None if self._closed else item

    def poke(self) -> None:
        """Wake the taker although there is nothing to take: it has something else to do."""
        with self._changed:
            self._poked = True
            self._changed.notify()

    def await_poke(self, timeout_s: float | None = None) -> None:
        """Wait until poked or closed, or for some time; an item, if there is one, stays."""
        with self._changed:
            self._changed.wait_for(lambda: self._poked or self._closed, timeout_s)
            self._poked = False

    def clear(self) -> bool:
        """Forget the item; True if there was one."""
        with self._changed:
            forgotten, self._item = self._item is not None, None
        return forgotten

    def close(self) -> None:
        """Wake the taker for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
