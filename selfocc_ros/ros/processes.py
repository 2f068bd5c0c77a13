# SPDX-License-Identifier: Apache-2.0
"""Starts processes with a log file each and ends them again, by their ids and no others. No rclpy in here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import selfocc_ros

STOP_S = 15.0


class Processes:
    """Processes by name; on leaving the context all of them have ended.

    Args:
        directory: where `<name>.log` with the output of each goes.
        environment: set on top of our own environment.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = {**os.environ, **environment}
        # A bare checkout is found by the children too, wherever they run.
        root = str(Path(selfocc_ros.__file__).resolve().parents[1])
        paths = [root, *(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != root)]
        self._environment["PYTHONPATH"] = os.pathsep.join(paths)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._files: list[BinaryIO] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._running):
            self.stop(name)
        for file in self._files:
            file.close()

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a command; the log of an earlier one of the same name is overwritten."""
        file = self.log(name).open("wb")
        self._files.append(file)
        self._running[name] = subprocess.Popen(
            list(command), stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self._environment
        )

    def start_module(self, name: str, module: str, *arguments: str) -> None:
        """Start a module of this package with this interpreter."""
        # Unbuffered, so that the log of a process that dies is complete.
        self.start(name, [sys.executable, "-u", "-m", module, *arguments])

    def log(self, name: str) -> Path:
        """Where the output of a process goes."""
        return self._directory / f"{name}.log"

    def pids(self) -> dict[str, int]:
        """Ids of the processes that run."""
        return {name: process.pid for name, process in self._running.items() if process.poll() is None}

    def ended(self) -> dict[str, int]:
        """Exit statuses of the processes that have ended; negative for a signal."""
        return {name: status for name, process in self._running.items() if (status := process.poll()) is not None}

    def last_line(self, name: str) -> str:
        """The last line that a process wrote, without the logger's prefix."""
        lines = self.log(name).read_text(errors="replace").split("\n")
        line = next((line for line in reversed(lines) if line.strip()), "it wrote nothing")
        return line.rpartition("]: ")[2].strip()

    def stop(self, name: str, timeout_s: float = STOP_S) -> int:
        """End a process as Ctrl-C does, by force if it does not listen; returns its exit status."""
        process = self._running[name]
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.wait()
