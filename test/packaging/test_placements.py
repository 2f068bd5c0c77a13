# SPDX-License-Identifier: Apache-2.0
"""A bare checkout, `pip install .`, `pip install -e .` and `colcon build` all find what comes with the package."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

# Told by the interpreter of each placement: where the packages are, and the files as resource() finds them.
PROBE = """
import json, sys
import selfocc_ros, selfocc_training
from selfocc_ros.resources import resource
names = sys.argv[1:]
print(json.dumps({
    "packages": [selfocc_ros.__file__, selfocc_training.__file__],
    "files": {name: str(resource(name)) for name in names},
}))
"""


@pytest.fixture(scope="session")
def shipped(repository: Path) -> list[str]:
    """Every file that a placement must find."""
    return [
        path.relative_to(repository).as_posix()
        for folder in ("config", "launch", "rviz")
        for path in sorted((repository / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


def check(told: str, packages: Path, files: Path, sources: Path, shipped: list[str]) -> None:
    """Asserts that packages and files come from the folders given, with the contents of the sources."""
    answer = json.loads(told)
    for package in answer["packages"]:
        assert Path(package).is_relative_to(packages)
    assert list(answer["files"]) == shipped
    for name, path in answer["files"].items():
        assert Path(path).is_relative_to(files)
        assert Path(path).read_bytes() == (sources / name).read_bytes()


def test_there_are_files_to_find(shipped: list[str]) -> None:
    assert "rviz/occ.rviz" in shipped
    assert "launch/occ.launch.py" in shipped
    assert any(name.startswith("config/") for name in shipped)


def test_a_bare_checkout(sources: Path, shipped: list[str], run: Run, tmp_path: Path) -> None:
    path = f"{sources}:{sources / 'training'}"
    done = run(sys.executable, "-c", PROBE, *shipped, cwd=tmp_path, PYTHONPATH=path)
    check(done.stdout, sources, sources, sources, shipped)


def test_the_command_finds_training_beside_itself(sources: Path, run: Run, tmp_path: Path) -> None:
    code = "from selfocc_ros import cli; cli.find_training(); import selfocc_training; print(selfocc_training.__file__)"
    done = run(sys.executable, "-S", "-c", code, cwd=tmp_path, PYTHONPATH=str(sources))
    assert Path(done.stdout.strip()) == sources / "training" / "selfocc_training" / "__init__.py"


def pip_install(run: Run, environment: Path, *what: str | Path, cwd: Path) -> None:
    flags = ("--quiet", "--disable-pip-version-check", "--no-build-isolation", "--no-deps", "--no-index")
    run(environment / "bin" / "python", "-m", "pip", "install", *flags, *what, cwd=cwd)


def test_pip_install(sources: Path, environment: Path, shipped: list[str], run: Run, tmp_path: Path) -> None:
    pip_install(run, environment, sources, cwd=tmp_path)
    python = environment / "bin" / "python"
    done = run(python, "-c", PROBE, *shipped, cwd=tmp_path)
    check(done.stdout, environment / "lib", environment / "share" / "selfocc_ros", sources, shipped)
    assert run(environment / "bin" / "selfocc", "--version", cwd=tmp_path).stdout.startswith("selfocc 0.")
    marker = environment / "share" / "ament_index" / "resource_index" / "packages" / "selfocc_ros"
    assert marker.is_file()


def test_pip_install_into_a_folder(
    sources: Path, environment: Path, shipped: list[str], run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    pip_install(run, environment, "--target", folder, sources, cwd=tmp_path)
    done = run(environment / "bin" / "python", "-c", PROBE, *shipped, cwd=tmp_path, PYTHONPATH=str(folder))
    check(done.stdout, folder, folder / "share" / "selfocc_ros", sources, shipped)


def test_pip_install_editable(sources: Path, environment: Path, shipped: list[str], run: Run, tmp_path: Path) -> None:
    pip_install(run, environment, "--editable", sources, cwd=tmp_path)
    done = run(environment / "bin" / "python", "-c", PROBE, *shipped, cwd=tmp_path)
    check(done.stdout, sources, sources, sources, shipped)
    assert run(environment / "bin" / "selfocc", "--version", cwd=tmp_path).stdout.startswith("selfocc 0.")


@pytest.mark.skipif(" " in sys.executable, reason="colcon's setup scripts do not quote the path of the interpreter")
@pytest.mark.skipif(importlib.util.find_spec("colcon_ros") is None, reason="colcon-ros is not installed (extra [dev])")
def test_colcon_build(sources: Path, shipped: list[str], run: Run, tmp_path: Path) -> None:
    # Not `colcon` itself: its script may be another Python's.
    colcon = (sys.executable, "-c", "import sys; from colcon_core.command import main; sys.exit(main())")
    run(*colcon, "build", "--base-paths", sources, cwd=tmp_path, COLCON_LOG_PATH=str(tmp_path / "log"))
    installed = tmp_path / "install" / "selfocc_ros"
    sourced = f'source {tmp_path}/install/local_setup.bash && exec "$@"'
    in_overlay = ("bash", "-c", sourced, "bash")
    done = run(*in_overlay, sys.executable, "-c", PROBE, *shipped, cwd=tmp_path)
    check(done.stdout, installed, installed / "share" / "selfocc_ros", sources, shipped)
    # `ros2 run` and launch files find executables in lib/<package>, through the marker in share/ament_index.
    for name in ("selfocc", "occupancy_node", "bag_player"):
        assert (installed / "lib" / "selfocc_ros" / name).is_file()
    executable = installed / "lib" / "selfocc_ros" / "selfocc"
    assert run(*in_overlay, executable, "--version", cwd=tmp_path).stdout.startswith("selfocc 0.")
    assert (installed / "share" / "ament_index" / "resource_index" / "packages" / "selfocc_ros").is_file()
