# SPDX-License-Identifier: Apache-2.0
"""`selfocc info`: the same for every network, as configuration and as checkpoint, in words and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfocc_ros import cli

PUBLISHED = {
    "nuscenes_tpv": (35_416_001, [800, 384], [200, 200, 16], 17),
    "nuscenes_bev": (31_232_729, [800, 384], [200, 200, 16], 17),
    "nuscenes_depth": (35_709_737, [800, 448], [200, 200, 16], 0),
    "nuscenes_novel_depth": (35_710_028, [800, 384], [200, 200, 16], 0),
    "kitti_tpv": (35_808_236, [1216, 352], [256, 256, 32], 0),
    "kitti_novel_depth": (35_808_236, [1216, 384], [256, 256, 32], 0),
    "kitti_raw_depth": (35_807_945, [1024, 320], [256, 256, 32], 0),
}
"""Parameters, input, grid, number of labels; docs/selfocc.md says the same."""


def info(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert cli.main(["info", *arguments, "--json", "-"]) == 0
    described: dict[str, Any] = json.loads(capsys.readouterr().out)
    return described


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_configuration(name: str, capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    parameters, size, shape, labels = PUBLISHED[name]
    described = info(capsys, name)
    assert described["name"] == name
    assert type(described["parameters"]) is int
    assert described["parameters"] == parameters
    assert [described["input"]["width"], described["input"]["height"]] == size
    assert described["grid"]["shape"] == shape
    assert described["classes"] == list(range(labels))
    assert len(described["cameras"]) == (6 if name.startswith("nuscenes") else 1)
    assert described["quirks"] == ["transposed_references", "corner_pixels", "lost_ground"]
    assert Path(described["provenance"]["configuration"]).name == f"{name}.yaml"
    assert described["scores"] == {}
    assert f"{parameters / 1e6:.1f} M" in next(
        line for line in (repository / "docs/selfocc.md").read_text().splitlines() if line.startswith(f"| `{name}`")
    )


def test_a_checkpoint_tells_the_same_and_where_it_comes_from(
    untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described, configured = info(capsys, str(untrained)), info(capsys, "tiny")
    assert described.keys() == configured.keys()
    assert type(described["parameters"]) is int
    for name in ("family", "parameters", "input", "grid", "classes", "decision"):
        assert described[name] == configured[name]
    assert described["provenance"] == {"note": "random weights"}


def test_in_words_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "kitti_raw_depth"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["parameters"] == "35807945"
    assert lines["classes"] == lines["scores"] == "-"
    assert lines["input"].startswith("width 1024, height 320, crop 1216 370, camera_width 1242, scale 0.84")
    assert "None" not in "".join(lines.values())


@pytest.mark.parametrize("source", ["nuscenes_tvp", "missing.yaml", "missing.safetensors"])
def test_what_is_not_there(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", source]) == 2
    told = capsys.readouterr().err
    assert source.split(".")[0] in told
    assert told.count("\n") == 1
