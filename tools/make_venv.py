# SPDX-License-Identifier: Apache-2.0
"""Makes .venv once, with what the demo or (with --dev) the tests and linters need; a second run ends at once.

`make` calls it before anything else: `python3 tools/make_venv.py --torch torch==2.13.0 --dev`. Beside an installed and
sourced ROS 2 the environment sees the system's packages and gets neither ROS wheels nor underlay/. What was installed
is remembered as a hash of the files that decide it. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import preflight
from build_underlay import ros_environment

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "selfocc.stamp"
NAME = "selfocc_ros"

# What a failed pip says -> what the user should read.
REASONS = {
    "No space left on device": "the disk is full",
    "Could not find a version that satisfies": "a package is not to be had for this Python (named above)",
    "No matching distribution found": "a package is not to be had for this Python (named above)",
    "Temporary failure in name resolution": "the package index cannot be reached",
    "Failed to establish a new connection": "the package index cannot be reached",
    "Read timed out": "the package index does not answer",
}


class InstallError(Exception):
    """One sentence for the user; the end of the failed step's output comes before it."""


def fingerprint(torch: str, installed_ros: bool, dev: bool) -> str:
    """Returns the hash of everything that decides what lies in the environment."""
    digest = hashlib.sha256()
    files = [ROOT / "setup.py", Path(__file__), ROOT / "tools" / "build_underlay.py"]
    files += sorted(path for path in (ROOT / "underlay").rglob("*") if path.is_file())
    for path in files:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    ros = os.environ.get("ROS_DISTRO", "") if installed_ros else "wheels"
    for fact in (str(ROOT), torch, sys.version, sys.base_prefix, ros, "dev" if dev else ""):
        digest.update(fact.encode() + b"\0")
    return digest.hexdigest()


def is_ours(installed_ros: bool) -> bool:
    """True if .venv was made by this very Python, with the same view of the system's packages."""
    try:
        lines = (VENV / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    config = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    version = ".".join(str(part) for part in sys.version_info[:3])
    same_base = Path(config.get("home", "")).parent == Path(sys.base_prefix)
    sees_system = config.get("include-system-site-packages") == str(installed_ros).lower()
    return same_base and config.get("version") == version and sees_system and (VENV / "bin" / "python").exists()


@contextmanager
def constraints(installed_ros: bool) -> Iterator[list[str]]:
    """Yields pip's arguments that keep the system's numpy: an installed ROS's compiled modules are bound to it."""
    if not installed_ros:
        yield []
        return
    code = "import numpy; print(numpy.__version__)"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if asked.returncode:
        yield []
        return
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(f"numpy=={asked.stdout.strip()}\n")
        file.flush()
        yield ["--constraint", file.name]


def run_step(what: str, command: list[str], env: dict[str, str]) -> None:
    """Runs a command, showing a line that changes (on a terminal), and its last words only if it fails."""
    print(f"selfocc: {what}", flush=True)
    width = shutil.get_terminal_size().columns - 3
    last: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for; this tells mypy
        for line in process.stdout:
            last.append(line)
            if sys.stdout.isatty():
                print(f"\r\033[K  {line.strip()[:width]}", end="", flush=True)
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)
    if process.returncode:
        text = "".join(last)
        sys.stderr.write(text)
        reason = next((said for sign, said in REASONS.items() if sign in text), "its output is above")
        raise InstallError(f"{what} failed: {reason}")


def ros_script(installed_ros: bool) -> str:
    """Returns a shell script that makes ROS find this environment.

    For the wheels it sets what they would set themselves by executing every interpreter once more; beside an installed
    ROS it only adds the environment to the places where packages are looked for.
    """
    prefixes = f"'{VENV}'" + ("${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}" if installed_ros else "")
    lines = ["# Source this to use ROS 2 and selfocc_ros from .venv; tools/make_venv.py wrote it."]
    lines += [f"export AMENT_PREFIX_PATH={prefixes}"]
    if not installed_ros:
        libraries = [VENV / "lib", *sorted(VENV.glob("lib/python3*/site-packages/ros_*.libs"))]
        lines += [
            "unset PYTHONPATH",
            f"export LD_LIBRARY_PATH='{':'.join(str(path) for path in libraries)}'",
            "export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1",
        ]
    return "\n".join([*lines, ""])


def link_into_ament_index() -> None:
    """Lets `ros2 launch selfocc_ros` and `ros2 run selfocc_ros` find the checkout.

    An editable install leaves data files out, and pip knows nothing of lib/selfocc_ros, where ROS keeps executables.
    """
    links = {VENV / "share" / "ament_index" / "resource_index" / "packages" / NAME: ROOT / "resource" / NAME}
    for name in ("package.xml", "config", "rviz"):
        links[VENV / "share" / NAME / name] = ROOT / name
    # One by one, because `ros2 launch` does not look into a folder that is a link.
    for path in (ROOT / "launch").glob("*.launch.py"):
        links[VENV / "share" / NAME / "launch" / path.name] = path
    for name in ("selfocc", "occupancy_node", "bag_player"):
        links[VENV / "lib" / NAME / name] = VENV / "bin" / name
    for link, target in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def install(torch: str, installed_ros: bool, dev: bool) -> None:
    """Makes or completes the environment."""
    if not is_ours(installed_ros):
        print(f"selfocc: making {VENV.name} with Python {sys.version.split()[0]}", flush=True)
        venv.EnvBuilder(system_site_packages=installed_ros, clear=True, symlinks=True, with_pip=True).create(VENV)
    python = str(VENV / "bin" / "python")
    env = dict(os.environ) if installed_ros else ros_environment(VENV)
    extras = ",".join(name for name, wanted in (("ros", not installed_ros), ("dev", dev)) if wanted)
    package = f"{NAME}[{extras}]" if extras else NAME
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    with constraints(installed_ros) as limits:
        what = f"installing {torch} and {package} into {VENV.name} (minutes, the first time)"
        run_step(what, [*pip, *limits, torch, "--editable", package.replace(NAME, ".")], env)
    if not installed_ros:
        run_step("building tf2_msgs, which PyPI lacks", [python, str(ROOT / "tools" / "build_underlay.py")], env)
    link_into_ament_index()
    (VENV / "ros.sh").write_text(ros_script(installed_ros), encoding="utf-8")


def main() -> int:
    """Returns 0 when the environment is complete, 2 after one sentence that says why it is not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", default="torch", help="pip's requirement for torch, such as torch==2.13.0")
    parser.add_argument("--dev", action="store_true", help="also what the tests and linters need")
    args = parser.parse_args()
    installed_ros = preflight.has_installed_ros()
    wanted = fingerprint(args.torch, installed_ros, args.dev)
    enough = {wanted, fingerprint(args.torch, installed_ros, dev=True)}
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") in enough and (VENV / "bin" / "python").exists():
        return 0
    if problem := preflight.problem(str(ROOT), environment_exists=is_ours(installed_ros)):
        print(f"selfocc: {problem}", file=sys.stderr)
        return 2
    if os.environ.get("ROS_DISTRO") and not installed_ros:
        distro = os.environ["ROS_DISTRO"]
        print(
            f"selfocc: ROS_DISTRO is {distro}, but {sys.executable} cannot import its rclpy and tf2_msgs: using wheels"
        )
    try:
        STAMP.unlink(missing_ok=True)
        install(args.torch, installed_ros, args.dev)
        STAMP.write_text(wanted, encoding="utf-8")
    except (InstallError, OSError, subprocess.SubprocessError) as error:
        print(f"selfocc: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
