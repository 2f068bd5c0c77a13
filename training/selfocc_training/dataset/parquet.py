# SPDX-License-Identifier: Apache-2.0
"""The Parquet files of a dataset: their columns, and pyarrow, which is imported only here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from selfocc_ros.errors import SelfOccError

ROWS_PER_GROUP = 128
"""Rows that are held in memory before they are written."""


class DatasetError(SelfOccError):
    """A dataset that cannot be read or written; the sentence names the file and what is wrong with it."""


def pyarrow(module: str = "pyarrow") -> Any:
    """The pyarrow module of that name.

    Raises:
        DatasetError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DatasetError("datasets need pyarrow: pip install 'selfocc_ros[train]'") from error


def schema(with_split: bool) -> Any:
    """Columns of `index.parquet`; files of single drives have no split yet."""
    pa = pyarrow()
    pose = pa.list_(pa.float64(), 16)
    camera = pa.struct(
        [
            ("name", pa.string()), ("file", pa.string()), ("stamp_ns", pa.int64()),
            ("width", pa.int32()), ("height", pa.int32()), ("k", pa.list_(pa.float64(), 9)),
            ("distortion_model", pa.string()), ("distortion", pa.list_(pa.float64())),
            ("base_from_camera", pose), ("odom_from_camera", pose),
        ]
    )  # fmt: skip
    columns = [
        ("drive", pa.string()), ("stamp_ns", pa.int64()), ("segment", pa.int32()), ("distance_m", pa.float64()),
        ("odom_from_base", pose), ("missing", pa.list_(pa.string())), ("cameras", pa.list_(camera)),
    ]  # fmt: skip
    return pa.schema([*columns, ("split", pa.string())] if with_split else columns)


class RowWriter:
    """Writes rows in groups to `path`, which appears only when all are written: `with RowWriter(path) as rows`."""

    def __init__(self, path: Path, with_split: bool) -> None:
        self._path, self._part = path, path.with_name(path.name + ".part")
        self._schema = schema(with_split)
        self._rows: list[Mapping[str, Any]] = []
        self._writer = pyarrow("pyarrow.parquet").ParquetWriter(self._part, self._schema, compression="zstd")

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)

    def write(self, row: Mapping[str, Any]) -> None:
        """Take one row."""
        self._rows.append(row)
        if len(self._rows) == ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pyarrow().Table.from_pylist(self._rows, self._schema))
            self._rows = []


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, one group at a time in memory."""
    with _open(path) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group).to_pylist()


def read_table(path: Path, columns: list[str] | None = None) -> Any:
    """The pyarrow Table of a file, or of some of its columns.

    Raises:
        DatasetError: the file is missing or no Parquet file.
    """
    with _open(path) as file:
        return file.read(columns=columns)


def _open(path: Path) -> Any:
    pa = pyarrow()
    try:
        return pyarrow("pyarrow.parquet").ParquetFile(path)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist: the dataset has not been prepared to its end") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{path} cannot be read as a Parquet file ({error})") from error
