# SPDX-License-Identifier: Apache-2.0
"""The node's services over real DDS, while a recording plays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.srv import GetState
from live_node import CLEANUP, CONFIGURE, DEACTIVATE, LiveNode, live_node
from std_srvs.srv import SetBool, Trigger


@pytest.fixture(scope="module")
def node(make_bag: Any, fake_command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    folder = tmp_path_factory.mktemp("services")
    bag = make_bag(folder / "bag", seconds=6.0)
    parameters = ("use_sim_time:=true", "tf_wait:=2.0", f"save_directory:={folder / 'saved'}")
    with live_node(folder, fake_command, *parameters) as out:
        out.loop(bag)
        out.await_state("running")
        yield out


def trigger(node: LiveNode, name: str) -> Any:
    return node.call(Trigger, name, Trigger.Request())


def test_another_checkpoint_is_loaded_beside_the_one_in_use(node: LiveNode, tmp_path: Path):
    """The loader waits for a file: meanwhile sets are published, and everything else is answered."""
    file = tmp_path / "go on"
    assert node.set(checkpoint=f"wait:{file}").successful
    loaded = node.ask(Trigger, "load_checkpoint", Trigger.Request())
    node.await_published(2)
    assert node.call(GetState, "get_state", GetState.Request()).current_state.label == "active"
    assert trigger(node, "reset").success
    assert not loaded.done()
    file.touch()
    node.until(loaded.done, "the end of loading")
    assert loaded.result().success
    sentence = f"a checksum made visible wait:{file}"
    assert loaded.result().message == f"checkpoint 'wait:{file}' is in use: {sentence}"
    node.until(lambda: node.told[-1]["model"] == sentence, "the new network in diagnostics")
    node.await_published(2)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("checkpoint", "reason"),
    [("missing", "checkpoint missing: there is no such file"), ("broken", "ZeroDivisionError: a bug")],
)
def test_where_loading_fails_the_old_network_stays(node: LiveNode, checkpoint: str, reason: str):
    assert node.set(checkpoint="second").successful
    assert trigger(node, "load_checkpoint").success
    assert node.set(checkpoint=checkpoint).successful
    answer = trigger(node, "load_checkpoint")
    assert not answer.success
    assert reason in answer.message
    assert answer.message.endswith("; checkpoint 'second' stays in use")
    node.await_published(2)
    assert node.told[-1]["model"] == "a checksum made visible second"
    assert node.told[-1]["state"] == "running"


def test_reset_is_survived(node: LiveNode):
    answer = trigger(node, "reset")
    assert (answer.success, answer.message) == (True, "transforms, images that wait and the local map are forgotten")
    node.await_published(3)


def test_disabled_it_rests_and_enabled_it_goes_on(node: LiveNode):
    answer = node.call(SetBool, "set_enabled", SetBool.Request(data=False))
    assert (answer.success, answer.message) == (True, "disabled: sets of images are dropped unseen")
    node.await_state("disabled")
    node.told.clear()
    node.until(lambda: len(node.told) >= 3, "diagnostics go on")
    # A set may have been in hand.
    assert len({told["published"] for told in node.told[1:]}) == 1
    assert node.call(SetBool, "set_enabled", SetBool.Request(data=True)).message == "enabled"
    node.await_published(2)
    assert node.await_state("running")


def test_a_scene_is_saved_where_the_parameter_says(node: LiveNode, tmp_path: Path):
    assert node.set(save_directory=str(tmp_path / "scenes")).successful
    node.await_published(1)
    answer = trigger(node, "save_scene")
    assert answer.success, answer.message
    assert {file.suffix for file in (tmp_path / "scenes").iterdir()} == {".ply", ".npz"}
    assert str(tmp_path / "scenes") in answer.message


@pytest.mark.fault
def test_a_folder_that_cannot_be_made_is_told(node: LiveNode, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    assert node.set(save_directory=str(tmp_path / "file")).successful
    answer = trigger(node, "save_scene")
    assert not answer.success
    assert str(tmp_path / "file") in answer.message


@pytest.mark.fault
def test_unconfigured_they_say_what_is_missing(node: LiveNode):
    assert node.set(checkpoint="").successful
    assert node.change(DEACTIVATE)
    assert node.change(CLEANUP)
    for name in ("save_scene", "load_checkpoint", "reset"):
        answer = trigger(node, name)
        assert (answer.success, answer.message) == (False, "the node has no network yet: configure it first")
    assert node.call(SetBool, "set_enabled", SetBool.Request(data=False)).success
    assert node.change(CONFIGURE)
    assert "Traceback" not in node.log()
