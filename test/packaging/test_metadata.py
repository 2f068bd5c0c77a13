# SPDX-License-Identifier: Apache-2.0
"""What is said in several places is the same everywhere, and every source file carries its licence."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from selfocc_ros import __version__


def test_package_xml_and_the_package_have_one_version(repository: Path) -> None:
    manifest = ET.parse(repository / "package.xml").getroot()
    assert manifest.findtext("name") == "selfocc_ros"
    assert manifest.findtext("version") == __version__
    assert manifest.findtext("export/build_type") == "ament_python"


def test_package_xml_names_every_message_package_that_is_imported(repository: Path) -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (repository / "selfocc_ros" / "ros").rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:from|import) (\w+_msgs|\w+_interfaces|rclpy)\b", sources, re.MULTILINE))
    declared = {node.text for node in ET.parse(repository / "package.xml").getroot().iter("exec_depend")}
    assert "rclpy" in imported
    assert imported <= declared


def test_both_releases_of_ros_have_the_same_wheels(repository: Path) -> None:
    """A message package that the node comes to need is needed on Jazzy too."""
    text = (repository / "setup.py").read_text(encoding="utf-8")
    extras = {
        ast.literal_eval(key): [re.split(r"[~<>=]", ast.literal_eval(item))[0] for item in value.elts]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.keyword) and node.arg == "extras_require" and isinstance(node.value, ast.Dict)
        for key, value in zip(node.value.keys, node.value.values, strict=True)
        if key is not None and isinstance(value, ast.List)
    }
    assert extras["ros"] == extras["ros-jazzy"]
    lists = [repository / "underlay" / name for name in ("requirements.txt", "requirements-jazzy.txt")]
    tools = [set(re.findall(r"^(ros-[a-z-]+)", path.read_text(), re.MULTILINE)) for path in lists]
    assert tools[0] - tools[1] == {"ros-ament-cmake-ros-core"}  # which Jazzy does not have yet
    assert tools[1] <= tools[0]


def test_package_xml_is_valid(repository: Path) -> None:
    package = pytest.importorskip("catkin_pkg.package", reason="catkin_pkg is not installed (colcon-ros brings it)")
    for manifest in (repository / "package.xml", repository / "underlay" / "tf2_msgs" / "package.xml"):
        warnings: list[str] = []
        package.parse_package(str(manifest), warnings=warnings)
        assert warnings == []


def test_every_python_file_says_its_licence_and_what_it_is_for(repository: Path) -> None:
    files = [path for folder in ("selfocc_ros", "training", "test", "tools", "launch", "bench")
             for path in (repository / folder).rglob("*.py")]  # fmt: skip
    assert len(files) > 20
    for path in [*files, repository / "setup.py"]:
        first, second = (*path.read_text(encoding="utf-8").split("\n"), "")[:2]
        assert first == "# SPDX-License-Identifier: Apache-2.0", path
        assert second.startswith(('"""', 'r"""')), f"{path} has no docstring below the licence"


def test_files_fit_the_eye(repository: Path) -> None:
    for folder in ("selfocc_ros", "training", "tools", "launch"):
        for path in (repository / folder).rglob("*.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, f"{path} holds more than one idea"


def test_the_changelog_follows_rep_132(repository: Path) -> None:
    lines = (repository / "CHANGELOG.rst").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "Changelog for package selfocc_ros"
    assert lines[0] == lines[2] == "^" * len(lines[1])
    headings = [above for above, below in itertools.pairwise(lines) if below and set(below) == {"-"}]
    assert headings
    assert all(re.fullmatch(r"Forthcoming|\d+\.\d+\.\d+ \(\d{4}-\d{2}-\d{2}\)", heading) for heading in headings)


@pytest.mark.parametrize("options", [[], ["-O"]])
def test_the_package_itself_imports_next_to_nothing(options: list[str], repository: Path) -> None:
    code = "import sys, selfocc_ros; print(sorted(set(sys.modules) & {'torch', 'numpy', 'cv2', 'yaml', 'rclpy'}))"
    done = subprocess.run([sys.executable, *options, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
