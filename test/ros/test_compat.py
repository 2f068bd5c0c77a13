# SPDX-License-Identifier: Apache-2.0
"""`compat.py`: what the releases of ROS 2 do differently comes to the same; Humble's lacks are imitated.

The other tests of this folder run on two releases as they are: `make test` on Kilted, `make test-jazzy` on Jazzy.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import rclpy
from live_node import LiveNode, live_node
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from selfocc_ros.ros import compat

HUMBLE_NODE = Path(__file__).with_name("humble_node.py")


@pytest.fixture
def node() -> Iterator[Node]:
    context = rclpy.Context()
    rclpy.init(context=context)
    yield Node("compat", context=context)
    context.shutdown()


class WithoutPostSet:
    """A node of Humble: it has no callback after setting."""

    def __init__(self, node: Node) -> None:
        self.add_on_set_parameters_callback = node.add_on_set_parameters_callback


@pytest.mark.parametrize("humble", [False, True])
def test_what_was_set_is_told_once_and_what_was_refused_never(humble: bool, node: Node) -> None:
    node.declare_parameter("height", 1.0)
    changed: list[float] = []
    compat.on_parameters(
        WithoutPostSet(node) if humble else node,
        lambda parameters: "too high" if parameters[0].value > 2.0 else "",
        lambda parameters: changed.append(parameters[0].value),
    )
    assert node.set_parameters([Parameter("height", value=1.5)])[0].successful
    refused = node.set_parameters([Parameter("height", value=3.0)])[0]
    assert (refused.successful, refused.reason) == (False, "too high")
    assert changed == [1.5]
    assert node.get_parameter("height").value == 1.5


def test_overrides_are_known_whether_declared_or_not() -> None:
    context = rclpy.Context()
    rclpy.init(context=context, args=["--ros-args", "-p", "height:=1.5"])
    try:
        overrides = compat.parameter_overrides(Node("compat", context=context))
        assert overrides["height"].value == 1.5
    finally:
        context.shutdown()


def test_a_release_without_that_attribute_reports_no_overrides() -> None:
    assert compat.parameter_overrides(SimpleNamespace()) == {}


def fresh_compat() -> ModuleType:
    """`compat.py` imported anew, beside the one in use."""
    spec = importlib.util.spec_from_file_location("compat_anew", compat.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_events_are_found_where_humble_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Callbacks:
        def __init__(self, **given: Any) -> None:
            self.given = given

    humble = ModuleType("rclpy.qos_event")
    humble.SubscriptionEventCallbacks = Callbacks  # type: ignore[attr-defined]
    humble.PublisherEventCallbacks = Callbacks  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rclpy.event_handler", None)
    monkeypatch.setitem(sys.modules, "rclpy.qos_event", humble)
    anew = fresh_compat()
    for events in (anew.incompatible_qos_callback(print), anew.unmatched_subscriber_callback(print)):
        assert isinstance(events, Callbacks)
        assert events.given == {"incompatible_qos": print, "use_default_callbacks": False}


@pytest.mark.fault
def test_fault_an_impossible_transition_is_answered_where_rclpy_raises() -> None:
    def jazzy(_request: Any, _response: Any) -> Any:
        raise RuntimeError("Transition is not registered.")

    response = SimpleNamespace(success=True)
    assert compat.answering(jazzy)(None, response) is response
    assert response.success is False
    assert compat.answering(lambda request, response: (request, response))(1, 2) == (1, 2)


# Names that some of the supported releases do not have: only `compat.py` may know them.
NEWER = {
    "event_handler", "qos_event", "add_post_set_parameters_callback", "add_pre_set_parameters_callback",
    "try_shutdown", "EventsExecutor", "ParameterEventHandler", "AsyncParameterClient",
    "best_available", "BEST_AVAILABLE", "_parameter_overrides",
}  # fmt: skip


def test_what_differs_is_in_one_place() -> None:
    folder = Path(compat.__file__).parent
    for path in folder.rglob("*.py"):
        if path.name == "compat.py":
            continue
        for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = {getattr(part, field, None) for field in ("attr", "id")}
            if isinstance(part, ast.ImportFrom):
                names |= {alias.name for alias in part.names} | set((part.module or "").split("."))
            if isinstance(part, ast.With):
                for item in part.items:
                    assert "rclpy.init" not in ast.unparse(item), f"{path.name}: Humble's rclpy.init is no context"
            assert not names & NEWER, f"{path.name} uses {sorted(n for n in names if n in NEWER)}: see compat.py"


@pytest.fixture(scope="module")
def humble(make_bag: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    folder = tmp_path_factory.mktemp("humble")
    bag = make_bag(folder / "bag", seconds=4.0)
    command = [sys.executable, "-u", str(HUMBLE_NODE)]
    with live_node(folder, command, "use_sim_time:=true", "tf_wait:=2.0") as out:
        out.processes.start_module(
            "player", "selfocc_ros.ros.bag_player", str(bag), "--loop", "--wait-for-node", "selfocc"
        )
        out.await_state("running")
        yield out


def test_the_node_runs_without_what_humble_lacks(humble: LiveNode) -> None:
    humble.await_published(3)
    assert humble.set(height_band=[0.4, 1.8]).successful
    refused = humble.set(height_band=[1.8, 0.4])
    assert not refused.successful
    assert "lowest height first" in refused.reason
    assert humble.call(Trigger, "reset", Trigger.Request()).success
    humble.await_published(3)
    assert "Traceback" not in humble.log()
