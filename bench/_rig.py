# SPDX-License-Identifier: Apache-2.0
"""The rig driver of the tests (test/ros/rig_driver.py) as a process that obeys."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from _observer import BenchError

DRIVER = Path(__file__).parents[1] / "test" / "ros" / "rig_driver.py"
OBEY_S, END_S = 30.0, 10.0


class RigProcess:
    """Starts a rig with these options in an environment of its own."""

    def __init__(self, environment: Mapping[str, str], *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", str(DRIVER), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        self._done: list[str] = []
        self._told = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def tell(self, command: str) -> str:
        """Give a command, wait until it holds, and return its answer, if it has one.

        Raises:
            BenchError: the rig does not obey, or has ended.
        """
        assert self._process.stdin is not None
        with self._told:
            before = len(self._done)
            try:
                self._process.stdin.write(command + "\n")
                self._process.stdin.flush()
            except OSError as error:
                raise BenchError(f"the rig has ended and cannot be told '{command}'") from error
            if not self._told.wait_for(lambda: len(self._done) > before, OBEY_S):
                raise BenchError(f"the rig does not obey '{command}'")
            return self._done[-1].removeprefix(f"done {command}").strip()

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._close()

    def end(self) -> None:
        """Let it end."""
        if self._process.poll() is None and self._process.stdin is not None:
            self._process.stdin.close()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._close()

    def _close(self) -> None:
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("done "):
                with self._told:
                    self._done.append(line)
                    self._told.notify_all()
