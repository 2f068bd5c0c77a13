# SPDX-License-Identifier: Apache-2.0
"""tools/: the sentences about an unfit machine, and when .venv counts as complete."""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest


def tool(name: str, repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools"))
    return importlib.import_module(name)


@pytest.fixture
def preflight(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    return tool("preflight", repository, monkeypatch)


def test_this_machine_is_fit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preflight = tool("preflight", repository, monkeypatch)
    assert preflight.problem(str(repository), environment_exists=True) is None


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 14, 0)])
def test_an_unfit_python(version: tuple[int, int, int], preflight: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.sys, "version_info", version)
    said = preflight.python_problem()
    assert f"Python {version[0]}.{version[1]}, but Python 3.10 to 3.13 is needed" in said


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_missing_venv(module: str, preflight: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert f"no module '{module}'" in preflight.python_problem()


def test_missing_headers(preflight: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / name))
    said = preflight.build_problem()
    assert "headers" in said
    assert str(tmp_path / "include" / "Python.h") in said


def test_missing_compiler(preflight: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no C++ compiler found (looked for c++, g++, clang++)" in preflight.build_problem()
    monkeypatch.setenv("CXX", "icpx -O2")
    assert "looked for CXX=icpx" in preflight.build_problem()


def test_another_processor(preflight: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.platform, "machine", lambda: "aarch64")
    assert "no ROS wheels for Linux aarch64" in preflight.build_problem()


def test_a_full_disk(preflight: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**8))
    assert preflight.disk_problem(str(tmp_path)) == (
        f"the disk of {tmp_path} has 0.1 GB free, but {preflight.NEEDED_GB} GB are needed to install"
    )


def test_beside_an_installed_ros_no_compiler_is_asked_for(
    preflight: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert preflight.problem(str(tmp_path), environment_exists=True) is not None
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    for name in ("rclpy", "tf2_msgs", "tf2_msgs.msg"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert preflight.problem(str(tmp_path), environment_exists=True) is None


def test_preflight_can_be_read_by_an_old_python(repository: Path) -> None:
    """Only its own sentence helps there; so no syntax of Python 3 alone, and only modules that were always there."""
    old = [path for name in ("python2.7", "python3.6", "python3.8") if (path := shutil.which(name))]
    source = (repository / "tools" / "preflight.py").read_text(encoding="utf-8")
    assert "import annotations" not in source
    assert 'f"' not in source
    source.encode("ascii")
    for python in old:
        script = repository / "tools" / "preflight.py"
        done = subprocess.run([python, script], capture_output=True, text=True)
        if done.returncode != 127:  # a version manager's stand-in for a Python that is not there
            assert done.returncode == 2
            assert "is needed: run make PYTHON=" in done.stderr


def test_what_decides_the_environment_changes_its_fingerprint(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_venv = tool("make_venv", repository, monkeypatch)
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    before = make_venv.fingerprint("torch==2.13.0", False, "ros,dev")
    assert make_venv.fingerprint("torch==2.13.0", False, "ros,dev") == before
    assert make_venv.fingerprint("torch>=2.4", False, "ros,dev") != before
    assert make_venv.fingerprint("torch==2.13.0", True, "ros,dev") != before
    assert make_venv.fingerprint("torch==2.13.0", False, "ros") != before
    monkeypatch.setattr(make_venv.sys, "version", "3.12.0 (another)")
    assert make_venv.fingerprint("torch==2.13.0", False, "ros,dev") != before


def test_each_environment_has_one_release_of_ros(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_venv = tool("make_venv", repository, monkeypatch)
    assert make_venv.extras_of(installed_ros=False, dev=True, jazzy=False) == "ros,dev"
    assert make_venv.extras_of(installed_ros=True, dev=False, jazzy=False) == ""
    assert make_venv.extras_of(installed_ros=False, dev=True, jazzy=True) == "ros-jazzy,test"


@pytest.mark.parametrize(
    ("version", "file"), [("9.1.2", "requirements.txt"), ("7.1.6", "requirements-jazzy.txt"), ("", "requirements.txt")]
)
def test_tf2_msgs_is_built_with_the_tools_of_the_installed_release(
    version: str, file: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    underlay = tool("build_underlay", repository, monkeypatch)

    def installed(_name: str) -> str:
        if not version:
            raise importlib.metadata.PackageNotFoundError
        return version

    monkeypatch.setattr(underlay.importlib.metadata, "version", installed)
    assert underlay.requirements() == repository / "underlay" / file
    assert underlay.requirements().is_file()


def test_an_environment_of_another_python_is_made_anew(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_venv = tool("make_venv", repository, monkeypatch)
    assert not make_venv.is_ours(tmp_path, installed_ros=False)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    version = ".".join(str(part) for part in sys.version_info[:3])
    config = f"home = {sys.base_prefix}/bin\ninclude-system-site-packages = false\nversion = {version}\n"
    (tmp_path / "pyvenv.cfg").write_text(config)
    assert make_venv.is_ours(tmp_path, installed_ros=False)
    assert not make_venv.is_ours(tmp_path, installed_ros=True)
    (tmp_path / "pyvenv.cfg").write_text(config.replace(version, "3.9.1"))
    assert not make_venv.is_ours(tmp_path, installed_ros=False)


def test_the_script_for_shells_names_the_libraries_of_the_wheels(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_venv = tool("make_venv", repository, monkeypatch)
    libraries = tmp_path / "lib" / "python3.11" / "site-packages" / "ros_rcl.libs"
    libraries.mkdir(parents=True)
    (tmp_path / "ros.sh").write_text(make_venv.ros_script(tmp_path, installed_ros=False))
    shell = f". {tmp_path}/ros.sh; echo $AMENT_PREFIX_PATH $LD_LIBRARY_PATH $_ROS_WHEELS_BOOTSTRAP_COMPLETE"
    said = subprocess.run(["sh", "-c", shell], capture_output=True, text=True).stdout.split()
    assert said == [str(tmp_path), f"{tmp_path / 'lib'}:{libraries}", "1"]

    (tmp_path / "ros.sh").write_text(make_venv.ros_script(tmp_path, installed_ros=True))
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/jazzy")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/ros/jazzy/lib")
    said = subprocess.run(["sh", "-c", shell], capture_output=True, text=True).stdout.split()
    assert said[:2] == [f"{tmp_path}:/opt/ros/jazzy", "/opt/ros/jazzy/lib"]


def test_a_failed_step_shows_its_output_and_one_reason(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    make_venv = tool("make_venv", repository, monkeypatch)
    command = [sys.executable, "-c", "print('ERROR: [Errno 28] No space left on device'); raise SystemExit(1)"]
    with pytest.raises(make_venv.InstallError, match=r"^installing x failed: the disk is full$"):
        make_venv.run_step("installing x", command, {})
    assert "Errno 28" in capfd.readouterr().err
    make_venv.run_step("doing nothing", [sys.executable, "-c", "print('noise')"], {})
    assert "noise" not in "".join(capfd.readouterr())


def test_the_built_tf2_msgs_speaks_the_type_of_every_ros(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    underlay = tool("build_underlay", repository, monkeypatch)
    environment = underlay.ros_environment(Path(sys.prefix))
    if not (Path(sys.prefix) / "share" / "tf2_msgs").is_dir():
        pytest.skip("tf2_msgs comes from an installed ROS here, or was not built into this environment")
    assert underlay.is_usable(sys.executable, environment) == underlay.TYPE_HASH
