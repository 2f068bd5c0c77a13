# SPDX-License-Identifier: Apache-2.0
"""The table of topics agrees with the parameters and with the documents."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.node_parameters import NodeParameters, checked
from selfocc_ros.ros.outputs.memory import Memory
from selfocc_ros.ros.outputs.topics import topics

TOPICS = topics(Memory(TransformTree()))


def test_each_switch_is_a_parameter_and_has_an_output():
    switches = {topic.switch for topic in TOPICS.values()} | {"depth"}
    assert switches == {name.split(".")[1] for name in NodeParameters().flat() if name.startswith("publish.")}


def test_the_manual_lists_all_topics(repository: Path):
    text = (repository / "docs" / "node.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `~/([a-z_]+)`", text.split("## Lifecycle")[0], re.MULTILINE)
    assert sorted(set(listed) & set(TOPICS)) == sorted(TOPICS)
    kinds = dict(re.findall(r"^\| `~/([a-z_]+)` \| (\S+/\w+)", text, re.MULTILINE))
    for name, topic in TOPICS.items():
        package, _, kind = kinds[name].partition("/")
        assert topic.kind.__module__.startswith(f"{package}.msg")
        assert topic.kind.__name__ == kind


def test_the_examples_for_nav2_can_be_read_and_name_what_exists(repository: Path):
    text = (repository / "docs" / "nav2.md").read_text(encoding="utf-8")
    node, static, points = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
    parameters = node["selfocc"]["ros__parameters"]
    for name, value in {**parameters["fusion"], "fixed_frame": parameters["fixed_frame"]}.items():
        dotted = name if name == "fixed_frame" else f"fusion.{name}"
        assert checked(dotted, value) == value
    costmap = static["local_costmap"]["local_costmap"]["ros__parameters"]
    assert costmap["global_frame"] == parameters["fixed_frame"]
    assert costmap["width"] <= parameters["fusion"]["size"]
    for topic in (costmap["occupancy"]["map_topic"], points["obstacles"]["selfocc"]["topic"]):
        assert topic.removeprefix("/selfocc/") in TOPICS
    for name in re.findall(r"`~/([a-z_]+)`", text):
        assert name in TOPICS
