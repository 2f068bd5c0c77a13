# SPDX-License-Identifier: Apache-2.0
"""Builds underlay/tf2_msgs into the running environment: the one message package that PyPI has no wheel of.

Run it with the environment's own interpreter: `.venv/bin/python tools/build_underlay.py`. The wheels that only the
build needs go into a throw-away environment, which is removed afterwards. Where tf2_msgs can be imported already
(an installed ROS) nothing is built. Standard library only.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

UNDERLAY = Path(__file__).resolve().parents[1] / "underlay"

# The hash of the type that every ROS 2 release with type hashes computes for tf2_msgs/msg/TFMessage: whoever
# carries another one is refused by the other side's DDS.
TYPE_HASH = "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"


class BuildError(Exception):
    """One sentence for the user; the log of the failed step comes before it."""


def ros_environment(prefix: Path) -> dict[str, str]:
    """Returns the environment in which the wheels under `prefix` run, and nothing of the caller's ROS.

    Both the library path and the guard of the wheels' bootstrapper are set, so that no interpreter re-executes itself
    and none loads the libraries of another environment.
    """
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME", "DESTDIR"}}
    env["PATH"] = f"{prefix / 'bin'}{os.pathsep}{env.get('PATH', '')}"
    env["AMENT_PREFIX_PATH"] = env["CMAKE_PREFIX_PATH"] = str(prefix)
    env["LD_LIBRARY_PATH"] = str(prefix / "lib")
    env["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"
    return env


def requirements() -> Path:
    """Returns the list of build tools for the ROS release whose wheels this environment has: Kilted or Jazzy."""
    try:
        version = importlib.metadata.version("ros-rclpy")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    return UNDERLAY / ("requirements-jazzy.txt" if version.startswith("7.") else "requirements.txt")


def step(what: str, command: list[str], env: dict[str, str], cwd: Path) -> str:
    """Runs one command quietly and returns its output; raises BuildError after showing the output if it fails."""
    done = subprocess.run(
        command, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        sys.stderr.write(done.stdout[-6000:])
        raise BuildError(f"{what} failed (exit status {done.returncode}; its output is above)")
    return done.stdout


def is_usable(python: str, env: dict[str, str]) -> str:
    """Returns the type hash of the installed TFMessage as '...', 'unknown', or '' if it cannot be used."""
    code = (
        "from tf2_msgs.msg import TFMessage\n"
        "TFMessage.__class__.__import_type_support__()\n"
        "assert TFMessage.__class__._TYPE_SUPPORT is not None\n"
    )
    if subprocess.run([python, "-c", code], env=env, capture_output=True).returncode:
        return ""
    code = (
        "import json, pathlib, sys\n"
        "from ament_index_python.packages import get_package_share_directory as share\n"
        "described = json.loads((pathlib.Path(share('tf2_msgs')) / 'msg' / 'TFMessage.json').read_text())\n"
        "hashes = {entry['type_name']: entry['hash_string'] for entry in described['type_hashes']}\n"
        "print(hashes['tf2_msgs/msg/TFMessage'])\n"
    )
    hashed = subprocess.run([python, "-c", code], env=env, capture_output=True, text=True)
    return hashed.stdout.strip() or "unknown"


def mend_python_paths(prefix: Path, include: str, numpy_include: str) -> None:
    """Points the wheels' exported CMake targets at this interpreter's headers.

    They name those of the image in which the wheels were made (/opt/python/cp311-cp311/...), and CMake refuses
    targets whose include directories don't exist.
    """
    for exported in prefix.glob("share/*/cmake/*.cmake"):
        text = exported.read_text(encoding="utf-8")
        mended = re.sub(r'/opt/python/[^;"]*/numpy/_?core/include', lambda _: numpy_include, text)
        mended = re.sub(r'/opt/python/[^;"]*/include/python3\.\d+', lambda _: include, mended)
        if mended != text:
            exported.write_text(mended, encoding="utf-8")


def build(package: Path, destination: Path, work: Path) -> None:
    """Builds the interface package `package` and installs it under the prefix `destination`; `work` is scratch."""
    prefix = work / "env"
    venv.create(prefix, with_pip=True, symlinks=True)
    python = str(prefix / "bin" / "python")
    env = ros_environment(prefix)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    step("installing the build tools of underlay/tf2_msgs from PyPI", [*pip, "-r", str(requirements())], env, work)
    numpy_include = step(
        "asking numpy for its headers", [python, "-c", "import numpy; print(numpy.get_include())"], env, work
    ).strip()
    mend_python_paths(prefix, sysconfig.get_path("include"), numpy_include)

    tree = work / "build"
    cmake = str(prefix / "bin" / "cmake")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    configure = [
        cmake, "-S", str(package), "-B", str(tree), "-G", "Unix Makefiles",
        "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF",
        f"-DCMAKE_INSTALL_PREFIX={destination}",
        f"-DPYTHON_INSTALL_DIR=lib/python{version}/site-packages",
        f"-DPython3_EXECUTABLE={python}", f"-DPython3_ROOT_DIR={prefix}", "-DPython3_FIND_VIRTUALENV=ONLY",
        "-Wno-dev",
    ]  # fmt: skip
    step("configuring underlay/tf2_msgs", configure, env, work)
    step("compiling underlay/tf2_msgs", [cmake, "--build", str(tree), "--parallel", "2"], env, work)
    step("installing underlay/tf2_msgs", [cmake, "--install", str(tree)], env, work)


def main() -> int:
    """Builds and installs unless tf2_msgs is there; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prefix", type=Path, default=Path(sys.prefix), help="where to install (this environment)")
    parser.add_argument("--force", action="store_true", help="build even if tf2_msgs can be imported already")
    args = parser.parse_args()
    prefix = args.prefix.absolute()
    runtime = dict(os.environ) if os.environ.get("ROS_DISTRO") else ros_environment(prefix)
    if not args.force and (found := is_usable(sys.executable, runtime)) in {TYPE_HASH, "unknown"}:
        print(f"tf2_msgs is there already (type hash {found})")
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="selfocc_underlay_") as work:
            build(UNDERLAY / "tf2_msgs", prefix, Path(work))
        built = is_usable(sys.executable, runtime)
        if built != TYPE_HASH:
            raise BuildError(f"tf2_msgs was built with type hash {built or 'none'}, expected {TYPE_HASH}")
    except (BuildError, OSError, subprocess.SubprocessError) as error:
        print(f"build_underlay: {error}", file=sys.stderr)
        return 2
    print(f"tf2_msgs built into {prefix}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
