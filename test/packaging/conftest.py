# SPDX-License-Identifier: Apache-2.0
"""A copy of the sources to install from, and a virtual environment that borrows the running one's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

PARTS = ("setup.py", "setup.cfg", "pyproject.toml", "package.xml", "README.md", "LICENSE")
FOLDERS = ("selfocc_ros", "training", "launch", "config", "rviz", "resource")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def sources(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is installed: installers leave build/ and *.egg-info beside setup.py."""
    copy = tmp_path_factory.mktemp("sources") / "selfocc_ros"
    copy.mkdir()
    for name in PARTS:
        if (repository / name).is_file():
            shutil.copy(repository / name, copy / name)
    for name in FOLDERS:
        shutil.copytree(repository / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return copy


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a command away from the checkout, with nothing on PYTHONPATH, and shows its output if it fails."""

    def execute(*command: str | Path, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | settings
        done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    return execute


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An empty virtual environment whose interpreter also finds the running environment's packages, last."""
    prefix = tmp_path / "env"
    venv.create(prefix, with_pip=False, symlinks=True)
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (prefix / "lib" / python / "site-packages" / "zz_borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    return prefix
