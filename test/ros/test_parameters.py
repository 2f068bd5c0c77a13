# SPDX-License-Identifier: Apache-2.0
"""Parameters as ROS users give them: command line, YAML, `ros2 param set`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from selfocc_ros.node_parameters import NodeParameters, ParameterError, options
from selfocc_ros.ros.parameters import Parameters, prepared

MakeNode = Callable[..., Node]


@pytest.fixture
def node_with() -> Iterator[MakeNode]:
    """A node started with `-p name:=value` for each argument."""
    context = rclpy.Context()
    nodes: list[Node] = []

    def make(*assignments: str, files: tuple[Path, ...] = ()) -> Node:
        arguments = ["--ros-args"]
        for assignment in assignments:
            arguments += ["-p", assignment]
        for file in files:
            arguments += ["--params-file", str(file)]
        rclpy.init(args=arguments, context=context)
        nodes.append(Node("selfocc", context=context))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    if context.ok():
        context.shutdown()


def test_defaults_are_those_of_the_dataclass_and_of_the_yaml(node_with: MakeNode, repository: Path):
    file = repository / "config" / "node" / "default.yaml"
    parameters = Parameters(node_with(files=(file,)))
    assert parameters.values == NodeParameters()
    assert parameters.warnings == []


def test_every_parameter_is_declared_with_a_description(node_with: MakeNode):
    node = node_with()
    Parameters(node)
    for name in options():
        assert ". Default " in node.describe_parameter(name).description, name
    limits = node.describe_parameter("max_skew").floating_point_range[0]
    assert (limits.from_value, limits.to_value) == (0.0, 1.0)
    assert node.describe_parameter("depth_stride").integer_range[0].to_value == 64
    assert node.describe_parameter("device").additional_constraints == "one of auto, cuda, cpu"
    assert node.get_parameter("phases").type_ == Parameter.Type.STRING_ARRAY
    assert node.describe_parameter("tf_wait").description == (
        "How long to wait for transforms newer than the images. Default 0.5 s; may be set while the node runs."
    )


@pytest.mark.parametrize(
    ("assignment", "name", "value"),
    [
        ("max_skew:=0.1", "max_skew", 0.1),
        ("max_wait:=1", "max_wait", 1.0),
        ("height_band:=[0, 3]", "height_band", (0.0, 3.0)),
        ("cameras:=auto", "cameras", ("auto",)),
        ("cameras:=[front, back]", "cameras", ("front", "back")),
        ("cameras:=front", "cameras", ("front",)),
        ("base_frame:=/car", "base_frame", "car"),
        ("ground_z:=-0.35", "ground_z", -0.35),
        ("publish.depth:=false", "publish.depth", False),
        ("phases:=[left=0.04, right=0.02]", "phases", ("left=0.04", "right=0.02")),
        ("fusion.size:=40", "fusion.size", 40.0),
    ],
)
def test_values_are_taken_as_people_write_them(node_with: MakeNode, assignment: str, name: str, value: object):
    assert Parameters(node_with(assignment)).values[name] == value


@pytest.mark.fault
@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("max_skew:=two", "parameter max_skew is 'two', expected a number"),
        ("max_skew:=7.0", "parameter max_skew is 7, expected 0 to 1"),
        ("max_wait:=.nan", "parameter max_wait is nan, expected 0 to 5"),
        ("device:=gpu", "parameter device is 'gpu', expected one of auto, cuda, cpu"),
        ("height_band:=[2.0, 0.3]", r"parameter height_band is \[2, 0.3\], expected the lowest height first"),
        ("height_band:=[1.0]", "parameter height_band is .*, expected \\[lowest, highest\\] in metres"),
        ("base_frame:=''", "parameter base_frame is empty, expected the name of a frame"),
        ("base_frame:=3", "parameter base_frame is 3, expected a text"),
        ("cameras:=[front, front]", "parameter cameras names a camera twice: front, front"),
        ("cameras:=[1, 2]", "parameter cameras is .*, expected 'auto' or a list of camera names or topics"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_in_one_sentence(node_with: MakeNode, assignment: str, message: str):
    with pytest.raises(ParameterError, match=message):
        Parameters(node_with(assignment))


@pytest.mark.fault
def test_an_unknown_parameter_is_one_warning_that_names_the_nearest(node_with: MakeNode):
    parameters = Parameters(node_with("max_skw:=0.1", "use_sim_time:=true", "hight_band:=[0.0, 1.0]"))
    assert parameters.warnings == [
        "parameter 'max_skw' does not exist and is ignored (did you mean 'max_skew'?)",
        "parameter 'hight_band' does not exist and is ignored (did you mean 'height_band'?)",
    ]
    assert parameters.values == NodeParameters()


def test_live_parameters_can_be_set_and_are_checked(node_with: MakeNode):
    node = node_with()
    parameters = Parameters(node)
    [result] = node.set_parameters([Parameter("height_band", value=[0.5, 1.5])])
    assert result.successful
    assert parameters.values.height_band == (0.5, 1.5)
    [result] = node.set_parameters([Parameter("height_band", value=[1.5, 0.5])])
    assert not result.successful
    assert "lowest height first" in result.reason
    assert parameters.values.height_band == (0.5, 1.5)


@pytest.mark.fault
def test_all_of_one_request_change_or_none(node_with: MakeNode):
    node = node_with()
    parameters = Parameters(node)
    before = parameters.values
    for other in (Parameter("height_band", value=[2.0, 1.0]), Parameter("depth_stride", value=65)):
        result = node.set_parameters_atomically([Parameter("tf_wait", value=1.0), other])
        assert not result.successful
        assert other.name in result.reason
        assert parameters.values is before
        assert node.get_parameter("tf_wait").value == 0.5
    both = [Parameter("tf_wait", value=1.0), Parameter("publish.depth", value=False)]
    assert node.set_parameters_atomically(both).successful
    assert (parameters.values.tf_wait, parameters.values.publish.depth) == (1.0, False)


def test_what_somebody_else_refuses_is_not_taken_over(node_with: MakeNode):
    node = node_with()
    parameters = Parameters(node)
    node.add_on_set_parameters_callback(lambda _: SetParametersResult(successful=False, reason="not today"))
    assert not node.set_parameters([Parameter("tf_wait", value=1.0)])[0].successful
    assert parameters.values.tf_wait == 0.5


def test_what_is_read_at_configure_waits_for_it_and_is_refused_while_active(node_with: MakeNode):
    node = node_with()
    parameters = Parameters(node)
    assert node.set_parameters([Parameter("max_skew", value=0.1)])[0].successful
    assert parameters.values.max_skew == 0.055
    assert parameters.take().max_skew == 0.1
    parameters.active = True
    [result] = node.set_parameters([Parameter("max_skew", value=0.2)])
    assert not result.successful
    assert result.reason == (
        "parameter max_skew is read when the node is configured: deactivate it, set the parameter, and then clean up, "
        "configure and activate it again"
    )
    assert node.set_parameters([Parameter("max_skew", value=0.1)])[0].successful, "nothing changes"
    assert parameters.values.max_skew == 0.1


def test_a_checkpoint_may_be_named_while_active_and_is_taken_when_asked_for(node_with: MakeNode):
    node = node_with()
    parameters = Parameters(node)
    parameters.active = True
    assert node.set_parameters([Parameter("checkpoint", value="other.safetensors")])[0].successful
    assert (parameters.values.checkpoint, parameters.asked.checkpoint) == ("", "other.safetensors")
    assert parameters.take().checkpoint == "other.safetensors"


def test_whole_numbers_and_unknown_names_over_services():
    [number] = prepared([Parameter("max_wait", value=1)])
    assert (number.type_, number.value) == (Parameter.Type.DOUBLE, 1.0)
    [band] = prepared([Parameter("height_band", value=[0, 3])])
    assert band.value == [0.0, 3.0]
    with pytest.raises(ParameterError, match=r"'publish.grid' does not exist \(did you mean 'publish.*grid'"):
        prepared([Parameter("publish.grid", value=True)])
