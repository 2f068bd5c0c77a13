# SPDX-License-Identifier: Apache-2.0
"""The node's parameter file, read without ROS."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfocc_ros.node_parameters import NodeParameters, ParameterError, load_parameters


def written(folder: Path, text: str) -> Path:
    path = folder / "vehicle.yaml"
    path.write_text(text)
    return path


def test_the_file_that_comes_with_the_package_holds_the_defaults(repository: Path) -> None:
    assert NodeParameters(**load_parameters(repository / "config/node/default.yaml")) == NodeParameters()


def test_only_what_is_set_is_told_and_the_nodes_own_section_goes_before(tmp_path: Path) -> None:
    text = "/**:\n  ros__parameters: {base_frame: car, ground_z: 1, use_sim_time: true}\n"
    text += "selfocc:\n  ros__parameters: {ground_z: -0.3, cameras: [left, right]}\nother:\n  ros__parameters: {x: 1}\n"
    values = load_parameters(written(tmp_path, text))
    assert values == {"base_frame": "car", "ground_z": -0.3, "cameras": ("left", "right")}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "/**:\n  ros__parameters: {base_fram: car}",
            "parameter 'base_fram' does not exist .did you mean 'base_frame'",
        ),
        ("/**:\n  ros__parameters: {max_skew: 7}", "parameter max_skew is 7, expected 0 to 1"),
        ("/**:\n  base_frame: car", "expected '/\\*\\*:' or 'selfocc:', and under it 'ros__parameters:'"),
        ("base_frame: car", "expected '/\\*\\*:' or 'selfocc:'"),
        ("", "expected '/\\*\\*:' or 'selfocc:'"),
        ("{", "cannot be read \\(it is no YAML\\)"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        load_parameters(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"nothing\.yaml: cannot be read \(No such file"):
        load_parameters(tmp_path / "nothing.yaml")
