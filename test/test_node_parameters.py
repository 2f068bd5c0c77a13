# SPDX-License-Identifier: Apache-2.0
"""The node's parameter file, read without ROS."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from selfocc_ros.node_parameters import NodeParameters, ParameterError, checked, options
from selfocc_ros.parameter_file import load_parameters


def written(folder: Path, text: str) -> Path:
    path = folder / "vehicle.yaml"
    path.write_text(text)
    return path


def test_the_file_that_comes_with_the_package_holds_the_defaults(repository: Path) -> None:
    values = load_parameters(repository / "config/node/default.yaml")
    assert set(values) == set(options())
    assert NodeParameters.of(values) == NodeParameters()


def test_groups_may_be_nested_or_dotted(tmp_path: Path) -> None:
    text = "/**:\n  ros__parameters: {publish: {depth: false}, fusion.size: 40, diagnostics: {min_rate: 1}}\n"
    values = load_parameters(written(tmp_path, text))
    assert values == {"publish.depth": False, "fusion.size": 40.0, "diagnostics.min_rate": 1.0}
    parameters = NodeParameters.of(values)
    assert (parameters.publish.depth, parameters.fusion.size, parameters.publish.sdf_slice) == (False, 40.0, True)
    assert parameters.flat() == {**NodeParameters().flat(), **values}


def test_every_parameter_has_a_default_that_passes_its_own_check() -> None:
    for name, option in options().items():
        assert checked(name, option.default) == option.default, name
        assert len(option.text) > 20, name
        assert option.text.endswith("."), name


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
        (
            "/**:\n  ros__parameters: {publish: {dept: true}}",
            "'publish.dept' does not exist .did you mean 'publish.depth'",
        ),
        ("/**:\n  ros__parameters: {publish: true}", "parameter 'publish' does not exist"),
        ("/**:\n  ros__parameters: {publish: {depth: 1}}", "parameter publish.depth is 1, expected true or false"),
        ("/**:\n  ros__parameters: {max_markers: 2.5}", "parameter max_markers is 2.5, expected a whole number"),
        ("/**:\n  ros__parameters: {phases: [left]}", "parameter phases holds 'left', expected texts 'camera=seconds'"),
        ("/**:\n  ros__parameters: {phases: [a=0.1, a=0.2]}", "parameter phases names camera 'a' twice"),
        (
            "/**:\n  ros__parameters: {qos: best}",
            "parameter qos is 'best', expected one of auto, reliable, best_effort",
        ),
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


def test_phases_are_told_in_seconds() -> None:
    phases = checked("phases", ["/camera/left = 0.0416667", "back=-0.02"])
    assert NodeParameters(phases=phases).phases_s == {"/camera/left": 0.0416667, "back": -0.02}


def test_the_manual_has_the_table_of_all_parameters(repository: Path) -> None:
    """`python tools/parameter_table.py` writes it."""
    spec = importlib.util.spec_from_file_location("parameter_table", repository / "tools" / "parameter_table.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    text = (repository / "docs" / "node.md").read_text()
    assert tool.HEAD in text
    assert text == tool.replaced(text)
