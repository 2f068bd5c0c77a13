# SPDX-License-Identifier: Apache-2.0
"""What holds for every test: loopback only, a ROS domain of its own, no time limits, GPU tests skip without a GPU."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def isolate_ros() -> None:
    """Keeps this run, and every process it starts, off the network and off any other run on this machine."""
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_LOCALHOST_ONLY"] = "1"
    # Domains above 101 may collide with ephemeral ports. The caller's own domain may be a robot's: it is not used.
    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
    prefix = Path(sys.prefix)
    if (prefix / "share" / "ament_index").is_dir():
        known = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
        os.environ["AMENT_PREFIX_PATH"] = os.pathsep.join([str(prefix), *(p for p in known if p and p != str(prefix))])


def load_hypothesis_profile() -> None:
    """A slow machine fails no property; the same examples on every run unless HYPOTHESIS_PROFILE says otherwise."""
    if importlib.util.find_spec("hypothesis") is None:
        return
    from hypothesis import HealthCheck, settings

    slow = [HealthCheck.too_slow]
    settings.register_profile("selfocc", deadline=None, derandomize=True, suppress_health_check=slow)
    settings.register_profile("explore", deadline=None, max_examples=1000, suppress_health_check=slow)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "selfocc"))


isolate_ros()
load_hypothesis_profile()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m gpu` needs nothing installed but torch: files and folders without GPU tests are not imported."""
    if config.getoption("markexpr") != "gpu":
        return None
    files = collection_path.rglob("*.py") if collection_path.is_dir() else [collection_path]
    marked = any("mark.gpu" in file.read_text(encoding="utf-8") for file in files if file.name != "conftest.py")
    return None if marked else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips GPU tests where torch sees no CUDA device, and says so."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="torch sees no CUDA device"))
