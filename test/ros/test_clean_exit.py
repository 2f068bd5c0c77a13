# SPDX-License-Identifier: Apache-2.0
"""However the node is asked to end: status 0, no traceback, nothing of it left."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest
from live_node import CONFIGURE, SHUTDOWN, LiveNode, live_node

TOKEN = "SELFOCC_TEST_TOKEN"


def processes_with(token: str) -> list[int]:
    """Ids of the processes that have this in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"{TOKEN}={token}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has just ended, or is somebody else's
            continue
    return found


def interrupt(node: LiveNode, *signals: signal.Signals) -> None:
    for number in signals:
        os.kill(node.processes.pids()["node"], number)


def ends_cleanly(node: LiveNode, token: str) -> None:
    assert node.ended() == 0
    assert "Traceback" not in node.log()
    assert "Exception" not in node.log()
    node.until(lambda: not processes_with(token), "nothing left")


@pytest.fixture(scope="module")
def bag(make_bag: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bag(tmp_path_factory.mktemp("exit") / "bag", seconds=4.0)


def play(node: LiveNode, bag: Path) -> None:
    node.loop(bag)
    node.await_state("running")


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT,), (signal.SIGTERM, signal.SIGINT)],
    ids=lambda signals: "-".join(number.name for number in signals),
)
def test_signals_at_work(fake_command: list[str], bag: Path, tmp_path: Path, signals: tuple[signal.Signals, ...]):
    token = uuid.uuid4().hex
    with live_node(tmp_path, fake_command, "use_sim_time:=true", **{TOKEN: token}) as node:
        play(node, bag)
        interrupt(node, *signals)
        node.until(lambda: "node" in node.processes.ended(), "the node ended")
        node.processes.stop("player")
        ends_cleanly(node, token)


@pytest.mark.parametrize("state", ["unconfigured", "inactive", "active"])
def test_a_lifecycle_shutdown(fake_command: list[str], tmp_path: Path, state: str):
    token = uuid.uuid4().hex
    autostart = str(state == "active").lower()
    with live_node(tmp_path, fake_command, f"autostart:={autostart}", **{TOKEN: token}) as node:
        if state == "inactive":
            assert node.change(CONFIGURE)
        node.until(lambda: node.lifecycle() == state, state)
        assert node.change(SHUTDOWN[state])
        ends_cleanly(node, token)


@pytest.mark.fault
def test_a_signal_while_the_network_loads(fake_command: list[str], tmp_path: Path):
    token = uuid.uuid4().hex
    never = tmp_path / "never"
    with live_node(tmp_path / "log", fake_command, f"checkpoint:='wait:{never}'", **{TOKEN: token}) as node:
        node.await_state("loading")
        interrupt(node, signal.SIGTERM)
        ends_cleanly(node, token)
        assert "[ERROR]" not in node.log()


@pytest.mark.fault
def test_a_signal_after_a_configure_that_failed(fake_command: list[str], tmp_path: Path):
    token = uuid.uuid4().hex
    with live_node(tmp_path, fake_command, "checkpoint:=missing", **{TOKEN: token}) as node:
        node.await_state("error")
        interrupt(node, signal.SIGINT)
        ends_cleanly(node, token)


@pytest.mark.slow
@pytest.mark.fault
def test_a_crash_of_the_player_is_survived_and_the_next_one_welcome(fake_command: list[str], bag: Path, tmp_path: Path):
    token = uuid.uuid4().hex
    with live_node(tmp_path, fake_command, "use_sim_time:=true", **{TOKEN: token}) as node:
        play(node, bag)
        os.kill(node.processes.pids()["player"], signal.SIGKILL)
        node.until(lambda: "player" in node.processes.ended(), "the player died")
        node.await_state("ready")
        assert "node" in node.processes.pids()
        play(node, bag)
        node.await_published()
        node.processes.stop("player")
        interrupt(node, signal.SIGINT)
        ends_cleanly(node, token)
