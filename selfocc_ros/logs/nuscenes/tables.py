# SPDX-License-Identifier: Apache-2.0
"""Reads the JSON tables of nuScenes record by record: the big ones have gigabytes and need not fit into memory."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from selfocc_ros.errors import SelfOccError

CHUNK = 4 << 20
"""Characters that are read at once, and the longest record that is believed to be one."""

_FEW = 10
_SEPARATORS = re.compile(r"[\s,]*")


class NuScenesError(SelfOccError, ValueError):
    """nuScenes' files are not as they should be; the sentence names the file, what was found and what was expected."""


class Tables:
    """The tables of one version of the dataset: `dataroot/version/*.json`.

    Args:
        dataroot: the folder with samples/, sweeps/ and the versions.
        version: such as v1.0-mini or v1.0-trainval; None is the only one that there is.

    Raises:
        NuScenesError: there is no such version, or none was chosen of several.
    """

    def __init__(self, dataroot: Path, version: str | None = None) -> None:
        found = sorted(path.parent.name for path in dataroot.glob("*/scene.json"))
        if not found:
            raise NuScenesError(
                f"{dataroot} is no nuScenes: expected a folder such as v1.0-mini with scene.json and the other tables"
            )
        if version is None and len(found) > 1:
            raise NuScenesError(f"{dataroot} has several versions: choose one of {', '.join(found)}")
        version = version or found[0]
        if version not in found:
            raise NuScenesError(f"{dataroot} has no version {version!r}{hint(version, found)}")
        self.dataroot = dataroot
        self.version = version

    def rows(
        self, table: str, fields: Sequence[str], key: str | None = None, among: Collection[str] | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """The values of some fields of each record, in the order of the file.

        Args:
            table: its name, such as `sample_data`.
            fields: at least one.
            key, among: only records whose field `key` has one of these values.

        Raises:
            NuScenesError: the table is missing, damaged, or a record lacks a field.
        """
        path = self.dataroot / self.version / f"{table}.json"
        wanted = None if among is None else frozenset(among)
        for number, record in enumerate(stream(path), start=1):
            try:
                if key is None or wanted is None or record[key] in wanted:
                    yield tuple(record[field] for field in fields)
            except KeyError as error:
                raise NuScenesError(f"{path} is damaged: record {number} has no {error.args[0]!r}") from error
            except TypeError as error:  # a list where a token should be
                raise NuScenesError(f"{path} is damaged: record {number} has a wrong {key!r}") from error


def stream(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON file that holds one list of objects, one after the other.

    Memory: a chunk of the file, whatever its size.

    Raises:
        NuScenesError: the file cannot be read, or is no such list to its end.
    """
    decode = json.JSONDecoder().raw_decode
    count = 0
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(CHUNK).lstrip()
            if not text.startswith("["):
                raise NuScenesError(f"{path} is damaged: a table is a list of records")
            at = 1
            while True:
                at = _after_separators(text, at)
                if text.startswith("]", at):
                    return
                try:
                    record, end = decode(text, at)
                except json.JSONDecodeError as error:
                    more = file.read(CHUNK) if len(text) - at < CHUNK else ""
                    if not more:
                        raise NuScenesError(f"{path} is damaged, or cut off, after {count} records") from error
                    text, at = text[at:] + more, 0
                    continue
                if not isinstance(record, dict):
                    raise NuScenesError(f"{path} is damaged: after {count} records comes something else")
                at = end
                count += 1
                yield record
    except FileNotFoundError as error:
        raise NuScenesError(f"{path} is missing") from error
    except OSError as error:
        raise NuScenesError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise NuScenesError(f"{path} is damaged after {count} records: it is not text") from error


def hint(name: str, known: Sequence[str]) -> str:
    """`": did you mean 'scene-0061'?"`, or what there is, shortened where there is much."""
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f": did you mean {' or '.join(repr(match) for match in near)}?"
    if len(known) > _FEW:
        return f", but {len(known)} from {known[0]} to {known[-1]}"
    return f", but {', '.join(known)}"


def _after_separators(text: str, at: int) -> int:
    match = _SEPARATORS.match(text, at)
    return at if match is None else match.end()
