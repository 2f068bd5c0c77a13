# SPDX-License-Identifier: Apache-2.0
"""rviz/occ.rviz shows what the node publishes, in the way that it publishes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def manager(repository: Path) -> dict[str, Any]:
    layout = yaml.safe_load((repository / "rviz" / "occ.rviz").read_text(encoding="utf-8"))
    found: dict[str, Any] = layout["Visualization Manager"]
    return found


def display(manager: dict[str, Any], kind: str) -> dict[str, Any]:
    (only,) = [shown for shown in manager["Displays"] if shown["Class"] == f"rviz_default_plugins/{kind}"]
    return dict(only)


def test_everything_is_seen_from_the_vehicle(manager: dict[str, Any]) -> None:
    assert manager["Global Options"]["Fixed Frame"] == "base_link"
    assert manager["Views"]["Current"]["Target Frame"] == "base_link"


def test_the_grid_is_subscribed_as_the_node_offers_it(manager: dict[str, Any]) -> None:
    topic = display(manager, "Map")["Topic"]
    assert topic["Value"] == "/selfocc/occupancy_grid"
    # The node keeps the last grid for those who come late, and only a transient-local subscription gets it.
    assert topic["Durability Policy"] == "Transient Local"
    assert topic["Reliability Policy"] == "Reliable"


def test_voxels_are_boxes_of_their_size_in_the_colours_of_the_node(manager: dict[str, Any]) -> None:
    from selfocc_ros.geometry.voxels import OCC3D

    cloud = display(manager, "PointCloud2")
    assert cloud["Topic"]["Value"] == "/selfocc/occupied_points"
    assert cloud["Style"] == "Boxes"
    assert cloud["Size (m)"] == pytest.approx(float(OCC3D.cell[0]))
    assert cloud["Color Transformer"] == "RGB8"


def test_every_display_that_takes_a_topic_has_one(manager: dict[str, Any]) -> None:
    images = [shown for shown in manager["Displays"] if shown["Class"].endswith("/Image")]
    assert len(images) == 6
    assert all(shown["Topic"]["Value"].endswith("/compressed") for shown in images)
