# SPDX-License-Identifier: Apache-2.0
"""Says in one sentence why this machine cannot hold the environment; prints nothing where it can.

Standard library only, and written so that any Python reads it, back to 2.7: being told "Python 3.6 is too old" is
the point. Exit status 0 if all is well, 2 otherwise.
"""

import importlib
import os
import platform
import sys

# The Python versions that PyPI has ROS wheels for, and this package is tested with.
OLDEST = (3, 10)
NEWEST = (3, 13)

# Measured on Linux x86-64: 1.7 GB with a CPU torch (and torch's CUDA libraries, where pip takes them, add 6 GB);
# building tf2_msgs needs 0.3 GB of temporary files for a moment.
NEEDED_GB = 3.0
NEEDED_TEMPORARY_GB = 0.5


def has_installed_ros():
    # type: () -> bool
    """True if a ROS 2 is sourced and this interpreter can import its rclpy and tf2_msgs."""
    if not os.environ.get("ROS_DISTRO"):
        return False
    try:
        importlib.import_module("rclpy")
        importlib.import_module("tf2_msgs.msg")
    except ImportError:
        return False
    return True


def find_program(names):
    # type: (list[str]) -> str | None
    """Returns the path of the first of `names` that is on the PATH, or None."""
    for name in names:
        if os.path.dirname(name):
            if os.access(name, os.X_OK):
                return name
            continue
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            path = os.path.join(folder, name)
            if folder and os.path.isfile(path) and os.access(path, os.X_OK):
                return path
    return None


def python_problem():
    # type: () -> str | None
    """The interpreter itself: version, and what venv needs."""
    found = "%d.%d" % sys.version_info[:2]
    wanted = "Python %d.%d to %d.%d" % (OLDEST + NEWEST)
    if not OLDEST <= tuple(sys.version_info[:2]) <= NEWEST:
        return "%s is Python %s, but %s is needed: run make PYTHON=/path/to/python3" % (sys.executable, found, wanted)
    for module in ("venv", "ensurepip"):
        try:
            importlib.import_module(module)
        except ImportError:
            return (
                "%s has no module '%s', which makes virtual environments: on Debian and Ubuntu install python%s-venv"
                % (sys.executable, module, found)
            )
    return None


def disk_problem(folder):
    # type: (str) -> str | None
    """Room for the environment in `folder` and for the build in the temporary folder."""
    import shutil
    import tempfile

    for where, needed in ((folder, NEEDED_GB), (tempfile.gettempdir(), NEEDED_TEMPORARY_GB)):
        free = shutil.disk_usage(where).free / 1e9
        if free < needed:
            return "the disk of %s has %.1f GB free, but %.1f GB are needed to install" % (where, free, needed)
    return None


def build_problem():
    # type: () -> str | None
    """What building underlay/tf2_msgs against the wheels takes."""
    import sysconfig

    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return (
            "there are no ROS wheels for %s %s, only for Linux x86_64: install ROS 2 and source its setup.bash first"
            % (platform.system(), platform.machine())
        )
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    if not os.path.isfile(header):
        return "the headers of Python %d.%d are missing (no %s): on Debian and Ubuntu install python%d.%d-dev" % (
            sys.version_info[0], sys.version_info[1], header, sys.version_info[0], sys.version_info[1],
        )  # fmt: skip
    # As CMake does, CC and CXX before the usual names; either may carry options.
    for variable, names in (("CXX", ["c++", "g++", "clang++"]), ("CC", ["cc", "gcc", "clang"])):
        asked = os.environ.get(variable, "").split()
        if find_program(asked[:1] or names) is None:
            return "no C++ compiler found (looked for %s): on Debian and Ubuntu install g++" % (
                "%s=%s" % (variable, asked[0]) if asked else ", ".join(names)
            )
    return None


def problem(folder, environment_exists=False):
    # type: (str, bool) -> str | None
    """Returns the sentence, or None if the environment can be made in `folder`.

    Where the environment exists already its disk space is taken, so none is asked for.
    """
    found = python_problem()
    if found is None and not environment_exists:
        found = disk_problem(folder)
    if found is None and not has_installed_ros():
        found = build_problem()
    return found


def main():
    # type: () -> int
    if sys.argv[1:] == ["--python-only"]:
        # The Makefile asks this first, because an old Python cannot even read make_venv.py.
        found = python_problem()
        if found:
            sys.stderr.write("selfocc: %s\n" % found)
        return 2 if found else 0
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = problem(folder, os.path.isdir(os.path.join(folder, ".venv", "lib")))
    if found is None:
        return 0
    sys.stderr.write("selfocc: %s\n" % found)
    return 2


if __name__ == "__main__":
    sys.exit(main())
