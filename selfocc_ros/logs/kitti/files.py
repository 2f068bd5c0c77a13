# SPDX-License-Identifier: Apache-2.0
"""KITTI's files as arrays: tables of numbers, `key: values` calibrations, timestamps, numbered files."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.errors import SelfOccError

Calibration = dict[str, NDArray[np.float64]]


class KittiError(SelfOccError, ValueError):
    """A drive that cannot be converted; the sentence names the file, what was found and what was expected."""


def read_text(path: Path) -> str:
    """The content of a text file.

    Raises:
        KittiError: it is not there or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise KittiError(f"{path} is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise KittiError(f"{path} cannot be read ({error})") from error


def read_table(path: Path, columns: int) -> NDArray[np.float64]:
    """The numbers of a file (N, columns), one row per line; empty lines at the end do not count.

    Raises:
        KittiError: it cannot be read, or a line has other than `columns` finite numbers.
    """
    lines = read_text(path).rstrip().splitlines()
    rows = np.empty((len(lines), columns))
    for index, line in enumerate(lines):
        numbers = _numbers(line)
        if numbers is None or numbers.size != columns:
            raise KittiError(f"{path} is damaged: line {index + 1} is {line[:40]!r}, expected {columns} numbers")
        rows[index] = numbers
    return rows


def read_calibration(path: Path) -> Calibration:
    """The entries of a calibration file whose values are numbers, by key; others (dates) are passed over."""
    entries: Calibration = {}
    for line in read_text(path).splitlines():
        key, colon, values = line.partition(":")
        numbers = _numbers(values)
        if colon and numbers is not None and numbers.size:
            entries[key.strip()] = numbers
    return entries


def calibration_entry(calibration: Calibration, key: str, shape: tuple[int, ...], path: Path) -> NDArray[np.float64]:
    """The entry `key` in its shape.

    Raises:
        KittiError: it is missing or has another number of values; names `path`, where the calibration is from.
    """
    if key not in calibration:
        raise KittiError(f"{path} has no entry {key}, found {', '.join(calibration) or 'none'}")
    values = calibration[key]
    if values.size != int(np.prod(shape)):
        raise KittiError(f"{path} is damaged: {key} has {values.size} numbers, expected {int(np.prod(shape))}")
    return values.reshape(shape)


_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,9}))?")


def read_timestamps(path: Path) -> list[int | None]:
    """Nanoseconds since 1970 of each line of a raw drive's timestamps.txt; None where a line is empty.

    The files tell local time to the nanosecond and no zone; they are read as UTC.
    """
    stamps: list[int | None] = []
    for number, line in enumerate(read_text(path).rstrip().splitlines(), start=1):
        found = _TIMESTAMP.fullmatch(line.strip())
        if not line.strip():
            stamps.append(None)
        elif found is None:
            raise KittiError(f"{path} is damaged: line {number} is {line[:40]!r}, expected a date and time")
        else:
            seconds = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
            stamps.append(int(seconds) * 1_000_000_000 + int((found[2] or "0").ljust(9, "0")))
    return stamps


def increasing(stamps: Sequence[int | None], path: Path) -> tuple[int, ...]:
    """The stamps, if there is one on every line and each is later than the one before; `path` is named otherwise."""
    known: list[int] = []
    for number, stamp in enumerate(stamps, start=1):
        if stamp is None:
            raise KittiError(f"{path} is damaged: line {number} is empty")
        if known and stamp <= known[-1]:
            raise KittiError(f"{path} is damaged: time does not increase at line {number}")
        known.append(stamp)
    if not known:
        raise KittiError(f"{path} is empty")
    return tuple(known)


def numbered_files(folder: Path, numbers: Collection[int], digits: int, suffix: str) -> dict[int, Path]:
    """Those of the files `folder/<number><suffix>` that are there, by number."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    names = {number: f"{number:0{digits}d}{suffix}" for number in numbers}
    return {number: folder / name for number, name in names.items() if name in there}


def all_files(folder: Path, count: int, digits: int, suffix: str) -> tuple[Path, ...]:
    """The files numbered 0 .. count - 1 of a folder.

    Raises:
        KittiError: some are missing; tells how many, and the first.
    """
    found = numbered_files(folder, range(count), digits, suffix)
    missing = [number for number in range(count) if number not in found]
    if missing:
        first = f"{missing[0]:0{digits}d}{suffix}"
        raise KittiError(f"{folder} lacks {len(missing)} of {count} files, the first is {first}")
    return tuple(found[number] for number in range(count))


def _numbers(text: str) -> NDArray[np.float64] | None:
    try:
        numbers = np.array([float(word) for word in text.split()])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None
