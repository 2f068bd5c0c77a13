# SPDX-License-Identifier: Apache-2.0
"""Small recordings to prepare, whole or changed, and a way to test/logs/recorded_drives.py."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.writer import BagWriter
from selfocc_training.dataset.prepare import prepare

sys.path.append(str(Path(__file__).parents[2] / "logs"))

Change = Callable[[str, int, Any], "tuple[str, Any] | None"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without pyarrow there is no dataset; installs for development have it."""
    if importlib.util.find_spec("pyarrow") is None:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="pyarrow is not installed"))


@pytest.fixture
def rewrite() -> Callable[[Path, Path, Change], Path]:
    """``rewrite(bag, out, change)`` copies what ``change(topic, receive_ns, msg)`` makes of a message, or None."""

    def copy(path: Path, out: Path, change: Change) -> Path:
        with Bag(path) as bag, BagWriter(out) as written:
            for topic, receive_ns, msg in bag.messages():
                changed = change(topic, receive_ns, msg)
                if changed is not None:
                    if changed[0] not in written.topics:
                        written.add_topic(changed[0], changed[1].__msgtype__)
                    written.write(changed[0], receive_ns, changed[1])
        return out

    return copy


@pytest.fixture(scope="session")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of three cameras in a bend at 10 m/s."""
    from recorded_drives import write_drive

    return write_drive(tmp_path_factory.mktemp("bags") / "drive", seconds=3.0)


@pytest.fixture(scope="session")
def prepared(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of `bag`."""
    pytest.importorskip("pyarrow")
    root = tmp_path_factory.mktemp("datasets") / "dataset"
    prepare([bag], root)
    return root
