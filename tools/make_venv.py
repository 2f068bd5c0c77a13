# SPDX-License-Identifier: Apache-2.0
"""Makes .venv once, with what the demo or (with --dev) the tests and linters need; a second run ends at once.

`make` calls it before anything else: `python3 tools/make_venv.py --torch torch==2.13.0 --dev`. Beside an installed and
sourced ROS 2 the environment sees the system's packages and gets neither ROS wheels nor underlay/. With
`--jazzy-wheels` it makes .venv-jazzy, in which the tests of the node run on another release of ROS 2. What was
installed is remembered as a hash of the files that decide it. Standard library only.
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
VENV, JAZZY_VENV = ROOT / ".venv", ROOT / ".venv-jazzy"
STAMP = "selfocc.stamp"
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


def fingerprint(torch: str, installed_ros: bool, extras: str) -> str:
    """Returns the hash of everything that decides what lies in the environment; `extras` as pip gets them."""
    digest = hashlib.sha256()
    files = [ROOT / "setup.py", Path(__file__), ROOT / "tools" / "build_underlay.py"]
    files += sorted(path for path in (ROOT / "underlay").rglob("*") if path.is_file())
    for path in files:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    ros = os.environ.get("ROS_DISTRO", "") if installed_ros else "wheels"
    for fact in (str(ROOT), torch, sys.version, sys.base_prefix, ros, extras):
        digest.update(fact.encode() + b"\0")
    return digest.hexdigest()


def is_ours(folder: Path, installed_ros: bool) -> bool:
    """True if the environment was made by this very Python, with the same view of the system's packages."""
    try:
        lines = (folder / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    config = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    version = ".".join(str(part) for part in sys.version_info[:3])
    same_base = Path(config.get("home", "")).parent == Path(sys.base_prefix)
    sees_system = config.get("include-system-site-packages") == str(installed_ros).lower()
    return same_base and config.get("version") == version and sees_system and (folder / "bin" / "python").exists()


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


def ros_script(folder: Path, installed_ros: bool) -> str:
    """Returns a shell script that makes ROS find this environment.

    For the wheels it sets what they would set themselves by executing every interpreter once more; beside an installed
    ROS it only adds the environment to the places where packages are looked for.
    """
    prefixes = f"'{folder}'" + ("${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}" if installed_ros else "")
    lines = [f"# Source this to use ROS 2 and selfocc_ros from {folder.name}; tools/make_venv.py wrote it."]
    lines += [f"export AMENT_PREFIX_PATH={prefixes}"]
    if not installed_ros:
        libraries = [folder / "lib", *sorted(folder.glob("lib/python3*/site-packages/ros_*.libs"))]
        lines += [
            "unset PYTHONPATH",
            f"export LD_LIBRARY_PATH='{':'.join(str(path) for path in libraries)}'",
            "export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1",
        ]
    return "\n".join([*lines, ""])


def link_into_ament_index(folder: Path) -> None:
    """Lets `ros2 launch selfocc_ros` and `ros2 run selfocc_ros` find the checkout.

    An editable install leaves data files out, and pip knows nothing of lib/selfocc_ros, where ROS keeps executables.
    """
    links = {folder / "share" / "ament_index" / "resource_index" / "packages" / NAME: ROOT / "resource" / NAME}
    for name in ("package.xml", "config", "rviz"):
        links[folder / "share" / NAME / name] = ROOT / name
    # One by one, because `ros2 launch` does not look into a folder that is a link.
    for path in (ROOT / "launch").glob("*.launch.py"):
        links[folder / "share" / NAME / "launch" / path.name] = path
    for name in ("selfocc", "occupancy_node", "bag_player"):
        links[folder / "lib" / NAME / name] = folder / "bin" / name
    for link, target in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def extras_of(installed_ros: bool, dev: bool, jazzy: bool) -> str:
    """Returns the extras of setup.py that the environment has, as pip gets them."""
    if jazzy:
        return "ros-jazzy,test"
    return ",".join(name for name, wanted in (("ros", not installed_ros), ("dev", dev)) if wanted)


def install(folder: Path, torch: str, installed_ros: bool, extras: str) -> None:
    """Makes or completes the environment."""
    if not is_ours(folder, installed_ros):
        print(f"selfocc: making {folder.name} with Python {sys.version.split()[0]}", flush=True)
        venv.EnvBuilder(system_site_packages=installed_ros, clear=True, symlinks=True, with_pip=True).create(folder)
    python = str(folder / "bin" / "python")
    env = dict(os.environ) if installed_ros else ros_environment(folder)
    package = f"{NAME}[{extras}]" if extras else NAME
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    with constraints(installed_ros) as limits:
        what = f"installing {torch} and {package} into {folder.name} (minutes, the first time)"
        run_step(what, [*pip, *limits, torch, "--editable", package.replace(NAME, ".")], env)
    if not installed_ros:
        run_step("building tf2_msgs, which PyPI lacks", [python, str(ROOT / "tools" / "build_underlay.py")], env)
    link_into_ament_index(folder)
    (folder / "ros.sh").write_text(ros_script(folder, installed_ros), encoding="utf-8")


def main() -> int:
    """Returns 0 when the environment is complete, 2 after one sentence that says why it is not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", default="torch", help="pip's requirement for torch, such as torch==2.13.0")
    parser.add_argument("--dev", action="store_true", help="also what the tests and linters need")
    parser.add_argument("--jazzy-wheels", action="store_true", help="make .venv-jazzy with ROS 2 Jazzy from PyPI")
    args = parser.parse_args()
    jazzy = args.jazzy_wheels
    folder = JAZZY_VENV if jazzy else VENV
    stamp = folder / STAMP
    installed_ros = preflight.has_installed_ros() and not jazzy
    extras = extras_of(installed_ros, args.dev, jazzy)
    wanted = fingerprint(args.torch, installed_ros, extras)
    enough = {wanted, fingerprint(args.torch, installed_ros, extras_of(installed_ros, True, jazzy))}
    if stamp.is_file() and stamp.read_text(encoding="utf-8") in enough and (folder / "bin" / "python").exists():
        return 0
    if problem := preflight.problem(str(ROOT), environment_exists=is_ours(folder, installed_ros)):
        print(f"selfocc: {problem}", file=sys.stderr)
        return 2
    if os.environ.get("ROS_DISTRO") and not installed_ros and not jazzy:
        distro = os.environ["ROS_DISTRO"]
        print(
            f"selfocc: ROS_DISTRO is {distro}, but {sys.executable} cannot import its rclpy and tf2_msgs: using wheels"
        )
    try:
        stamp.unlink(missing_ok=True)
        install(folder, args.torch, installed_ros, extras)
        stamp.write_text(wanted, encoding="utf-8")
    except (InstallError, OSError, subprocess.SubprocessError) as error:
        print(f"selfocc: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
