# SPDX-License-Identifier: Apache-2.0
"""The node's parameter file, read without ROS: it tells `selfocc check`, `replay` and `demo` the same as the node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from selfocc_ros.configuration import nearest_hint
from selfocc_ros.node_parameters import ParameterError, checked, is_known, options


def load_parameters(path: str | Path, node: str = "selfocc") -> dict[str, Any]:
    """What a ROS 2 parameter file sets for the node, checked, by dotted name; parameters of rclpy are left out.

    Args:
        path: YAML as `--params-file` takes it: `/**` or the node's name, then `ros__parameters`, then names with
            dots, or groups as mappings.
        node: sections of other nodes do not count.

    Raises:
        ParameterError: the file cannot be read or is no such file, a name does not exist, or a value cannot be used.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no YAML"
        raise ParameterError(f"{path}: cannot be read ({reason})") from error
    sections = content if isinstance(content, dict) else {}
    found = [sections[name] for name in ("/**", node, f"/{node}") if name in sections]
    if not found or not all(isinstance(s, dict) and isinstance(s.get("ros__parameters"), dict) for s in found):
        raise ParameterError(f"{path}: expected '/**:' or '{node}:', and under it 'ros__parameters:'")
    asked = {name: value for section in found for name, value in _dotted(section["ros__parameters"])}
    for name in asked:
        if not is_known(name):
            raise ParameterError(f"{path}: parameter {name!r} does not exist{nearest_hint(name, options())}")
    return {name: checked(name, value) for name, value in asked.items() if name in options()}


def _dotted(values: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{name}.")
        else:
            yield name, value
