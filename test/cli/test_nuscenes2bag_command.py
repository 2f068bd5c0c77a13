# SPDX-License-Identifier: Apache-2.0
"""`selfocc nuscenes2bag`: words for people, JSON for programs, one sentence for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nuscenes_miniature import VERSION, write_miniature

from selfocc_ros.cli import main

SCENES = ("scene-0061", "scene-0103")


@pytest.fixture(scope="module")
def dataroot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_miniature(tmp_path_factory.mktemp("nuscenes"), seconds=0.2, scenes=SCENES)


def run(dataroot: Path, out: Path, *arguments: str) -> int:
    return main(["nuscenes2bag", "--dataroot", str(dataroot), "--version", VERSION, "--out", str(out), *arguments])


def test_scenes_become_recordings(dataroot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(dataroot, tmp_path, "--scene", *SCENES, "--json", str(tmp_path / "done.json")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{tmp_path / s / 'bag'}: 0.2 s, 12 images, 2 clouds, 16 poses" for s in SCENES]
    done = json.loads((tmp_path / "done.json").read_text())
    assert (done["left_out"], [scene["name"] for scene in done["scenes"]]) == (0, [*SCENES])
    assert run(dataroot, tmp_path, "--scene", "all") == 0
    assert capsys.readouterr().out.count(", as it was\n") == 2


@pytest.mark.fault
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--scene", "scene-0062"], "selfocc: v1.0-mini has no scene 'scene-0062': did you mean 'scene-0061'"),
        (["--scene", "?"], "selfocc: v1.0-mini has no scene '?', but scene-0061, scene-0103"),
        (["--scene", "scene-0061", "--version", "v1"], "has no version 'v1'"),
        (["--scene", "scene-0061", "--occ3d", "nowhere"], "1 of 1 label files of Occ3D are missing"),
    ],
)
def test_fault_bad_input(
    arguments: list[str], sentence: str, dataroot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(dataroot, tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


@pytest.mark.fault
def test_fault_one_scene_of_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_miniature(tmp_path / "data", seconds=0.1, scenes=SCENES)
    next((root / "samples" / "CAM_FRONT").iterdir()).unlink()
    assert run(root, tmp_path / "out", "--scene", "all") == 1
    assert sorted(line.split()[0] for line in capsys.readouterr().out.splitlines())[1] == "left"
