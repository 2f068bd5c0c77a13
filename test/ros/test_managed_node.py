# SPDX-License-Identifier: Apache-2.0
"""What becomes of transitions that fail, whatever the work in them is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn

from selfocc_ros.errors import SelfOccError
from selfocc_ros.ros.domain import own_domain
from selfocc_ros.ros.managed_node import ManagedNode

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)


class Work:
    """Notes what is asked of it; raises `errors[name]` where there is one."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.errors: dict[str, Exception] = {}

    def configure(self) -> None:
        self._do("configure")

    def activate(self) -> None:
        self._do("activate")

    def deactivate(self) -> None:
        self._do("deactivate")

    def release(self) -> None:
        self._do("release")

    def finalized(self) -> None:
        self._do("finalized")

    def _do(self, name: str) -> None:
        self.done.append(name)
        if name in self.errors:
            raise self.errors.pop(name)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def node(work: Work, monkeypatch: pytest.MonkeyPatch) -> Iterator[ManagedNode]:
    with own_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        rclpy.init()
        out = ManagedNode("managed", work)
        yield out
        out.destroy_node()
        rclpy.shutdown()


def transitions(node: ManagedNode) -> dict[str, Callable[[], TransitionCallbackReturn]]:
    """One after the other, by the name of the work that each calls."""
    return {
        "configure": node.trigger_configure,
        "activate": node.trigger_activate,
        "deactivate": node.trigger_deactivate,
        "release": node.trigger_cleanup,
    }


def test_all_transitions_call_the_work(node: ManagedNode, work: Work):
    for transition in (
        node.trigger_configure, node.trigger_activate, node.trigger_deactivate, node.trigger_cleanup,
        node.trigger_configure, node.trigger_shutdown,
    ):  # fmt: skip
        assert transition() == SUCCESS
    assert work.done == ["configure", "activate", "deactivate", "release", "configure", "release", "finalized"]


def test_start_does_as_a_manager_would(node: ManagedNode, work: Work):
    node.start()
    assert work.done == ["configure", "activate"]


@pytest.mark.fault
def test_start_does_not_activate_what_could_not_be_configured(node: ManagedNode, work: Work):
    work.errors["configure"] = SelfOccError("no checkpoint")
    node.start()
    assert work.done == ["configure"]
    assert node.trigger_configure() == SUCCESS


@pytest.mark.fault
@pytest.mark.parametrize("failing", ["configure", "activate", "deactivate"])
def test_a_sentence_leaves_the_node_as_it_was(node: ManagedNode, work: Work, failing: str):
    for name, transition in transitions(node).items():
        if name == failing:
            work.errors[name] = SelfOccError("not now")
            assert transition() == FAILURE
            assert "release" not in work.done
        assert transition() == SUCCESS, name


@pytest.mark.fault
@pytest.mark.parametrize("failing", ["configure", "activate", "deactivate", "release"])
def test_a_bug_releases_everything_and_leaves_the_node_to_be_configured_again(
    node: ManagedNode, work: Work, failing: str
):
    for name, transition in transitions(node).items():
        if name == failing:
            work.errors[name] = ZeroDivisionError("a bug")
            assert transition() == ERROR
            break
        assert transition() == SUCCESS
    assert work.done[-1] == "release"
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS


@pytest.mark.fault
def test_shutdown_ends_whatever_happens(node: ManagedNode, work: Work):
    work.errors["release"] = ZeroDivisionError("a bug")
    assert node.trigger_shutdown() == SUCCESS
    assert work.done == ["release", "finalized"]
