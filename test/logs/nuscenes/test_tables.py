# SPDX-License-Identifier: Apache-2.0
"""Tables are read record by record, whatever their size and layout, and damage is told."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from selfocc_ros.logs.nuscenes import tables
from selfocc_ros.logs.nuscenes.tables import NuScenesError, Tables, stream

RECORDS = [{"token": f"{k:032x}", "name": 'a "]}, {" b\\', "list": [[1.5, -2e-7], []], "ü": None} for k in range(40)]


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_chunks_end_anywhere(indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.json"
    text = json.dumps(RECORDS[:3], indent=indent)
    path.write_text(text, encoding="utf-8")
    for chunk in range(len(text) // 3 + 10, len(text) + 2):
        monkeypatch.setattr(tables, "CHUNK", chunk)
        assert list(stream(path)) == RECORDS[:3]


@pytest.mark.fault
def test_fault_a_record_longer_than_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(RECORDS), encoding="utf-8")
    monkeypatch.setattr(tables, "CHUNK", 7)
    with pytest.raises(NuScenesError, match="damaged, or cut off, after 0 records"):
        list(stream(path))


def test_memory_is_that_of_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CHUNK", 1 << 13)
    path = tmp_path / "table.json"
    path.write_text(json.dumps(RECORDS * 100), encoding="utf-8")
    assert path.stat().st_size > 50 * tables.CHUNK
    tracemalloc.start()
    assert sum(1 for _ in stream(path)) == 4000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * tables.CHUNK


@pytest.mark.fault
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "a table is a list of records"),
        (b'{"token": "a"}', "a table is a list of records"),
        (b'[{"token": "a"}, {"token": ', "cut off, after 1 records"),
        (b'[{"token": "a"}', "cut off, after 1 records"),
        (b'[{"token": "a"}, {"token" "b"}]', "cut off, after 1 records"),
        (b'[{"token": "a"}, 3]', "after 1 records comes something else"),
        (b'[{"token": "\xff"}]', "it is not text"),
    ],
)
def test_fault_a_damaged_table(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_bytes(content)
    with pytest.raises(NuScenesError, match=sentence):
        list(stream(path))


def test_rows_are_filtered(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "scene.json").write_text(json.dumps(RECORDS))
    chosen = {RECORDS[3]["token"], RECORDS[30]["token"], "none"}
    rows = Tables(tmp_path).rows("scene", ("token", "list"), "token", chosen)
    assert list(rows) == [(RECORDS[k]["token"], RECORDS[k]["list"]) for k in (3, 30)]


@pytest.mark.fault
def test_fault_versions(tmp_path: Path) -> None:
    with pytest.raises(NuScenesError, match="is no nuScenes"):
        Tables(tmp_path)
    for version in ("v1.0-mini", "v1.0-trainval"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "scene.json").write_text("[]")
    with pytest.raises(NuScenesError, match=r"several versions: choose one of v1\.0-mini, v1\.0-trainval"):
        Tables(tmp_path)
    with pytest.raises(NuScenesError, match=r"no version 'v1\.0-min': did you mean 'v1\.0-mini'"):
        Tables(tmp_path, "v1.0-min")
    with pytest.raises(NuScenesError, match=r"no version 'xyz', but v1\.0-mini, v1\.0-trainval"):
        Tables(tmp_path, "xyz")
