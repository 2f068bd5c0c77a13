# SPDX-License-Identifier: Apache-2.0
"""The node as a lifecycle manager sees it: one process, through all transitions in the order of this file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from live_node import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, SHUTDOWN, LiveNode, live_node
from rcl_interfaces.srv import GetParameters
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Trigger

from selfocc_ros.ros import qos

TOPICS = {
    f"/camera/{name}/{topic}" for name in ("front", "left", "right") for topic in ("camera_info", "image/compressed")
}
HEAVY = 200_000_000  # bytes, of fake_node.py
TRANSFORMS = {"/tf", "/tf_static"}
OUTPUTS = {"/selfocc/occupancy_grid", "/selfocc/occupied_points"}


@pytest.fixture(scope="module")
def bag(make_bag: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bag(tmp_path_factory.mktemp("lifecycle") / "bag", seconds=4.0)


@pytest.fixture(scope="module")
def node(fake_command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    parameters = ("use_sim_time:=true", "tf_wait:=2.0", "autostart:=false")
    with live_node(tmp_path_factory.mktemp("lifecycle"), fake_command, *parameters) as out:
        yield out


def test_without_autostart_it_waits_and_takes_nothing(node: LiveNode):
    told = node.await_state("unconfigured")
    assert told["reason"] == "waits to be configured"
    assert node.lifecycle() == "unconfigured"
    assert not node.subscribes() & (TOPICS | TRANSFORMS)
    assert not node.publishes() & OUTPUTS


@pytest.mark.fault
def test_a_network_that_cannot_be_loaded_fails_the_transition_in_one_sentence(node: LiveNode):
    assert node.set(checkpoint="missing").successful
    assert not node.change(CONFIGURE)
    assert node.lifecycle() == "unconfigured"
    assert node.await_state("error")["reason"] == "checkpoint missing: there is no such file"
    assert node.log().count("the node cannot be configured: checkpoint missing: there is no such file") == 1
    assert not node.publishes() & OUTPUTS


@pytest.mark.fault
def test_what_is_no_sentence_goes_through_the_error_state_and_back(node: LiveNode):
    assert node.set(checkpoint="broken").successful
    assert not node.change(CONFIGURE)
    assert node.lifecycle() == "unconfigured"
    assert "ZeroDivisionError: a bug" in node.await_state("error")["reason"]


@pytest.mark.fault
def test_a_transition_that_is_not_possible_changes_nothing(node: LiveNode):
    assert not node.change(ACTIVATE)
    assert node.lifecycle() == "unconfigured"


def test_while_the_network_loads_the_node_answers(node: LiveNode, tmp_path: Path):
    file = tmp_path / "go on"
    assert node.set(checkpoint=f"wait:{file}").successful
    configured = node.ask(ChangeState, "change_state", ChangeState.Request(transition=Transition(id=CONFIGURE)))
    assert node.await_state("loading")["reason"] == "the network"
    assert node.lifecycle() == "configuring"
    [value] = node.call(GetParameters, "get_parameters", GetParameters.Request(names=["max_skew"])).values
    assert value.double_value == 0.055
    assert not configured.done()
    file.touch()
    node.until(configured.done, "the end of configure")
    assert configured.result().success
    assert node.await_state("inactive")["reason"] == "waits to be activated"
    assert node.lifecycle() == "inactive"
    assert not node.subscribes() & (TOPICS | TRANSFORMS)
    node.until(lambda: node.publishes() >= OUTPUTS, "the outputs")


def test_active_it_subscribes_and_publishes(node: LiveNode, bag: Path):
    assert node.change(ACTIVATE)
    assert node.lifecycle() == "active"
    node.loop(bag)
    node.await_state("running")
    node.until(lambda: node.subscribes() >= TOPICS | TRANSFORMS, "subscriptions")
    node.await_published()


@pytest.mark.fault
def test_what_is_read_at_configure_is_refused_while_active(node: LiveNode):
    result = node.set(max_skew=0.02, tf_wait=1.0)
    assert not result.successful
    assert result.reason.startswith("parameter max_skew is read when the node is configured: deactivate it")
    result = node.set(max_skw=0.02)
    assert result.reason == "parameter 'max_skw' does not exist (did you mean 'max_skew'?)"
    assert node.set(max_wait=0.2, max_rate=0).successful, "nothing changes, and whole numbers do"


def test_deactivated_it_neither_listens_nor_publishes(node: LiveNode):
    assert node.change(DEACTIVATE)
    assert node.lifecycle() == "inactive"
    node.until(lambda: not node.subscribes() & (TOPICS | TRANSFORMS), "no subscriptions")
    published = node.await_state("inactive")["published"]
    node.told.clear()
    node.until(lambda: len(node.told) >= 3, "diagnostics go on")
    assert {told["published"] for told in node.told} == {published}


def test_around_again_and_again_leaves_nothing_behind(node: LiveNode):
    limit = (0, 0)
    for turn in range(4):
        assert node.change(ACTIVATE)
        node.await_state("running")
        assert node.change(DEACTIVATE)
        assert node.change(CLEANUP)
        assert node.lifecycle() == "unconfigured"
        node.until(lambda: not node.publishes() & OUTPUTS, "no outputs")
        assert not node.subscribes() & (TOPICS | TRANSFORMS)
        if turn == 0:
            limit = (node.threads(), node.files())
        # A thread that has answered may not have ended yet.
        node.until(
            lambda most=limit: node.threads() <= most[0] and node.files() <= most[1],
            f"at most {limit[0]} threads and {limit[1]} files",
        )
        assert node.change(CONFIGURE)


def test_a_network_that_is_not_used_any_more_is_not_in_memory(node: LiveNode):
    """Neither after ~/load_checkpoint nor after a cleanup."""
    assert node.change(ACTIVATE)
    light, half = node.memory(), HEAVY // 2
    for checkpoint in ("heavy", "light", "heavy"):
        assert node.set(checkpoint=checkpoint).successful
        assert node.call(Trigger, "load_checkpoint", Trigger.Request()).success
        node.await_published()
        assert (node.memory() - light > half) == (checkpoint == "heavy")
    assert node.change(DEACTIVATE)
    assert node.change(CLEANUP)
    assert node.memory() - light < half
    assert node.set(checkpoint="").successful
    assert node.change(CONFIGURE)


def test_what_was_set_while_inactive_counts_from_the_next_configure(node: LiveNode):
    assert node.set(base_frame="odom").successful
    assert node.change(CLEANUP)
    assert node.change(CONFIGURE)
    assert node.change(ACTIVATE)
    points = node.hear(PointCloud2, "/selfocc/occupied_points", qos.POINTS)
    node.until(lambda: points, "points")
    assert points[-1].header.frame_id == "odom"


def test_shutdown_ends_the_process_with_status_0(node: LiveNode):
    assert node.change(SHUTDOWN["active"])
    assert node.ended() == 0
    assert "Traceback" not in node.log()
