# SPDX-License-Identifier: Apache-2.0
"""`selfocc evaluate --protocol town`: figures with their baselines beside them, the same every time."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from selfocc_ros.cli import main
from selfocc_ros.cli.evaluate import USED_BY, add_arguments, parse_seeds
from selfocc_ros.cli.tables import finite, score_table
from selfocc_ros.errors import SelfOccError


def test_figures_table_and_pictures(tmp_path: Path, untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(untrained), "--protocol", "town", "--seeds", "9000-9001", "--samples", "1"]
    command += ["--rig", "front1", "--seconds", "4", "--device", "cpu"]
    assert main([*command, "--json", str(tmp_path / "a.json"), "--pictures", str(tmp_path / "pictures")]) == 0
    words = capsys.readouterr().out
    for column in ("network", "flat ground", "blind"):
        assert column in words
    first = json.loads((tmp_path / "a.json").read_text())
    for name in ("iou", "iou_above_ground", "abs_rel", "abs_rel_above_ground"):
        for suffix in ("", "_flat_ground", "_blind"):
            assert first[name + suffix] >= 0
    assert first["samples"] == 2
    # an untrained network has learnt nothing: it is as good blind as seeing
    assert first["abs_rel"] == pytest.approx(first["abs_rel_blind"], rel=0.1)
    assert len(list((tmp_path / "pictures").glob("*_sheet.png"))) == 2
    assert len(list((tmp_path / "pictures").glob("*_depth.jpg"))) == 2
    assert main([*command, "--json", "-"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert {k: v for k, v in first.items() if k != "took_s"} == {k: v for k, v in second.items() if k != "took_s"}


def test_blindness_is_left_out_where_that_is_asked_for(
    tmp_path: Path, untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(untrained), "--no-blind", "--seeds", "9000", "--samples", "1", "--rig", "front1"]
    assert main([*command, "--seconds", "4", "--device", "cpu", "--json", str(tmp_path / "a.json")]) == 0
    figures = json.loads((tmp_path / "a.json").read_text())
    assert "iou_flat_ground" in figures
    assert not [name for name in figures if name.endswith("_blind")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--report", "R"], "novel_depth and lidar, not for town; of towns --pictures writes pictures"),
        (["--split", "val"], "--split is for protocols occ3d, rayiou, semantickitti, depth, novel_depth and lidar, "),
        (["--ground-z", "0"], "--ground-z is for protocols occ3d, "),
        (["--min-travel", "0"], "--min-travel is for protocols occ3d, "),
        (["--min-depth", "0"], "--min-depth is for protocols depth, novel_depth and lidar, not for town"),
        (["--max-depth", "9"], "--max-depth is for protocols depth, "),
        (["--garg-crop"], "--garg-crop is for protocols depth, "),
        (["--stride", "4"], "--stride is for protocols depth, "),
        (["--post-process", "selfocc"], "--post-process is for protocols occ3d and semantickitti, not for town"),
        (["--bag", "b.mcap"], "--bag is for protocol lidar, not for town"),
        (["D", "--protocol", "rayiou", "--post-process", "selfocc"], "--post-process is for protocols occ3d and "),
        (["D", "--protocol", "lidar", "--post-process", "selfocc"], "not for lidar"),
        (["D", "--protocol", "occ3d", "--garg-crop"], "--garg-crop is for protocols depth, novel_depth and lidar"),
        (["D", "--protocol", "depth", "--bag", "b.mcap"], "--bag is for protocol lidar, not for depth"),
        (["D", "--protocol", "occ3d", "--stride", "8"], "--stride is for"),
        (["D", "--protocol", "occ3d", "--seeds", "9000"], "--seeds is for protocol town, not for occ3d"),
        (["D", "--protocol", "occ3d", "--pictures", "P"], "--pictures is for protocol town, not for occ3d"),
    ],
)  # fmt: skip
def test_fault_options_that_would_change_nothing_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "default", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("selfocc: ")
    assert error.count("\n") == 1


def test_every_option_is_taken_by_a_protocol() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    known = {action.dest for action in parser._actions} - {"help"}
    assert known >= USED_BY.keys()
    for_all = {"checkpoint", "dataset", "protocol", "samples", "device", "json", "no_blind"}
    assert known - USED_BY.keys() == for_all
    assert {name for name in USED_BY if parser.get_default(name) is not None} == set()


def test_seeds() -> None:
    assert parse_seeds("9000") == [9000]
    assert parse_seeds("9000-9003") == [9000, 9001, 9002, 9003]
    assert parse_seeds("9005, 9001-9002") == [9005, 9001, 9002]
    for text in ("", "x", "9003-9000", "1,1", "-3", "1-"):
        with pytest.raises(SelfOccError, match="--seeds"):
            parse_seeds(text)


def test_fault_bad_input_is_one_sentence(untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["missing.safetensors"], [str(untrained), "--rig", "rocket"], [str(untrained), "--samples", "0"]):
        assert main(["evaluate", *arguments, "--device", "cpu"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("selfocc: ")
        assert error.count("\n") == 1


def test_tables_show_what_is_missing_as_a_dash() -> None:
    table = score_table({"iou": 0.5, "iou_blind": float("nan"), "abs_rel": 0.125}, ["iou", "abs_rel"])
    lines = table.splitlines()
    assert lines[1].split() == ["iou", "0.500", "-", "-", "higher"]
    assert lines[2].split() == ["abs_rel", "0.125", "-", "-", "lower"]
    assert finite({"a": float("nan"), "b": {"c": float("inf"), "d": 1.0}, "e": "x"}) == {
        "a": None,
        "b": {"c": None, "d": 1.0},
        "e": "x",
    }
