# SPDX-License-Identifier: Apache-2.0
"""Imports go one way: every import statement of the package is held to the layers, wherever in a file it stands."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Layer -> the layers that it may import. `base` is what lies beside the folders: errors, resources, configuration.
# town writes its drives as bags, and only logs knows bags.
ALLOWED: dict[str, set[str]] = {
    "base": set(),
    "geometry": {"base"},
    "ops": {"base"},
    "sensing": {"base", "geometry"},
    "logs": {"base", "geometry", "sensing"},
    "town": {"base", "geometry", "sensing", "logs"},
    "model": {"base", "geometry", "ops"},
    "runtime": {"base", "geometry", "ops", "sensing", "model"},
    "viz": {"base", "geometry", "ops", "sensing", "model", "runtime"},
    "ros": {"base", "geometry", "ops", "sensing", "logs", "model", "runtime", "viz"},
    "selfocc_training": {"base", "geometry", "ops", "sensing", "logs", "town", "model", "runtime", "viz"},
}
ALLOWED["cli"] = set(ALLOWED)

# The libraries that the lower layers may know; the upper ones are free but for EXCLUSIVE.
LIBRARIES = {
    "base": {"yaml"},
    "geometry": {"numpy", "torch"},
    "ops": {"numpy", "torch", "triton"},
    "sensing": {"numpy", "cv2"},
    "model": {"numpy", "torch", "safetensors", "transformers"},
    "runtime": {"numpy", "torch"},
}

# Libraries that one layer alone imports.
EXCLUSIVE = {"rosbags": "logs", "lightning": "selfocc_training", "triton": "ops"}
ROS = {
    "action_msgs", "ament_index_python", "builtin_interfaces", "cv_bridge", "diagnostic_msgs", "diagnostic_updater",
    "geometry_msgs", "launch", "launch_ros", "lifecycle_msgs", "message_filters", "nav_msgs", "rcl_interfaces",
    "rclpy", "rosbag2_py", "rosgraph_msgs", "sensor_msgs", "sensor_msgs_py", "std_msgs", "std_srvs",
    "tf2_geometry_msgs", "tf2_msgs", "tf2_py", "tf2_ros", "tf_transformations", "visualization_msgs",
}  # fmt: skip
EXCLUSIVE |= dict.fromkeys(ROS, "ros")


def layer_of(module: str) -> str | None:
    """Returns the layer of a dotted module name, None for anybody else's."""
    parts = module.split(".")
    if parts[0] == "selfocc_training":
        return "selfocc_training"
    if parts[0] != "selfocc_ros":
        return None
    return parts[1] if len(parts) > 1 and (ROOT / "selfocc_ros" / parts[1]).is_dir() else "base"


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Yields (line, dotted name) of every import, those inside functions too; `from a import b` yields a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def offences(layer: str, source: str, where: str) -> list[str]:
    """Returns a sentence for each import that `layer` may not make."""
    found = []
    for line, name in imports(source):
        library = name.split(".")[0]
        target = layer_of(name)
        if name.startswith("."):
            found.append(f"{where}:{line}: {name} is relative; absolute imports show which layer they go to")
        elif library == "__future__" or library in sys.stdlib_module_names:
            continue
        elif target is not None:
            if target != layer and target not in ALLOWED[layer]:
                found.append(f"{where}:{line}: {layer} imports {name}, but may import only {sorted(ALLOWED[layer])}")
        elif EXCLUSIVE.get(library, layer) != layer:
            found.append(f"{where}:{line}: {layer} imports {library}, which is for {EXCLUSIVE[library]} alone")
        elif layer in LIBRARIES and library not in LIBRARIES[layer]:
            found.append(f"{where}:{line}: {layer} imports {library}, but knows only {sorted(LIBRARIES[layer])}")
    return found


def sources() -> list[Path]:
    return sorted([*(ROOT / "selfocc_ros").rglob("*.py"), *(ROOT / "training" / "selfocc_training").rglob("*.py")])


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "training":
        parts = parts[1:]
    return ".".join(parts)


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_imports_go_one_way(path: Path) -> None:
    layer = layer_of(module_name(path))
    assert layer in ALLOWED, f"{path} lies in a folder that is no layer"
    assert offences(layer, path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))) == []


def test_the_layers_have_no_circle() -> None:
    done: set[str] = set()
    while ready := {layer for layer, below in ALLOWED.items() if layer not in done and below - {layer} <= done}:
        done |= ready
    assert done == set(ALLOWED)


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        ("geometry", "from selfocc_ros.sensing.frames import CameraFrame"),
        ("geometry", "def late():\n    import selfocc_ros.model"),
        ("logs", "from selfocc_ros import model"),
        ("model", "from selfocc_ros.logs.reader import Bag"),
        ("model", "import cv2"),
        ("sensing", "import rclpy"),
        ("sensing", "from rosbags.highlevel import AnyReader"),
        ("ros", "import rosbags"),
        ("ros", "from selfocc_training.metrics import score"),
        ("selfocc_training", "from selfocc_ros.ros import qos"),
        ("cli", "def run():\n    from sensor_msgs.msg import Image"),
        ("ros", "from .qos import sensor"),
        ("runtime", "if True:\n    from selfocc_ros.cli import main"),
    ],
)
def test_a_wrong_import_is_found(layer: str, source: str) -> None:
    assert len(offences(layer, source, "somewhere.py")) == 1


def test_what_needs_rclpy_is_tested_in_its_own_folder() -> None:
    # support holds no tests, only what tests share.
    homes = {ROOT / "test" / "ros", ROOT / "test" / "launch", ROOT / "test" / "support"}
    for path in (ROOT / "test").rglob("*.py"):
        if not homes & set(path.parents):
            used = {name.split(".")[0] for _, name in imports(path.read_text(encoding="utf-8"))} & ROS
            assert not used, f"{path.relative_to(ROOT)} imports {sorted(used)}: it belongs into test/ros"
