# SPDX-License-Identifier: Apache-2.0
"""rviz/occ.rviz shows what the node publishes, in the way that it publishes it, and can be fitted to any vehicle."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.resources import resource
from selfocc_ros.sensing.discovery import CameraTopics
from selfocc_ros.sensing.rig_source import RigSource
from selfocc_ros.viz.rviz_layout import LayoutError, vehicle_layout


def layout_file(repository: Path) -> Path:
    return repository / "rviz" / "occ.rviz"


@pytest.fixture(scope="module")
def manager(repository: Path) -> dict[str, Any]:
    layout = yaml.safe_load(layout_file(repository).read_text(encoding="utf-8"))
    found: dict[str, Any] = layout["Visualization Manager"]
    return found


def display(manager: dict[str, Any], topic: str) -> dict[str, Any]:
    (only,) = [shown for shown in manager["Displays"] if shown.get("Topic", {}).get("Value") == topic]
    return dict(only)


def image_topics(manager: dict[str, Any]) -> dict[str, str]:
    images = [shown for shown in manager["Displays"] if shown["Class"] == "rviz_default_plugins/Image"]
    return {shown["Name"]: shown["Topic"]["Value"] for shown in images}


def test_everything_is_seen_from_the_vehicle(manager: dict[str, Any]) -> None:
    assert manager["Global Options"]["Fixed Frame"] == "base_link"
    assert manager["Views"]["Current"]["Target Frame"] == "base_link"


def test_cameras_voxels_grid_local_map_and_transforms_show_at_once(manager: dict[str, Any]) -> None:
    shown = {d["Name"] for d in manager["Displays"] if d["Enabled"]}
    assert {"Transforms", "Occupied voxels", "Occupancy grid", "Local map", "Camera front", "Camera back"} <= shown


@pytest.mark.parametrize(
    "topic", [f"/selfocc/{n}" for n in ("occupancy_grid", "local_map", "sdf_slice", "semantic_grid")]
)
def test_a_kept_grid_is_subscribed_as_the_node_offers_it(topic: str, manager: dict[str, Any]) -> None:
    shown = display(manager, topic)
    assert shown["Class"] == "rviz_default_plugins/Map"
    # The node keeps the last grid for those who come late, and only a transient-local subscription gets it.
    assert shown["Topic"]["Durability Policy"] == "Transient Local"
    assert shown["Topic"]["Reliability Policy"] == "Reliable"


def test_voxels_are_boxes_of_their_size_in_the_colours_of_the_node(manager: dict[str, Any]) -> None:
    from selfocc_ros.geometry.voxels import OCC3D

    cloud = display(manager, "/selfocc/occupied_points")
    assert cloud["Style"] == "Boxes"
    assert cloud["Size (m)"] == pytest.approx(float(OCC3D.cell[0]))
    assert cloud["Color Transformer"] == "RGB8"


def test_each_camera_has_its_picture_and_its_depth(manager: dict[str, Any]) -> None:
    topics = image_topics(manager)
    cameras = [name.removeprefix("Camera ") for name in topics if name.startswith("Camera ")]
    assert len(cameras) == 6
    for camera in cameras:
        assert topics[f"Camera {camera}"] == f"/camera/{camera}/image/compressed"
        assert topics[f"Depth {camera}"] == f"/selfocc/depth/{camera}"


def test_every_output_of_the_node_has_its_display_and_no_other(manager: dict[str, Any], repository: Path) -> None:
    table = (repository / "docs" / "node.md").read_text(encoding="utf-8").split("## Topics")[1].split("\n## ")[0]
    outputs = set(re.findall(r"^\| `~/([a-z_]+)", table, re.MULTILINE))
    topics = {shown["Topic"]["Value"] for shown in manager["Displays"] if "Topic" in shown}
    shown_outputs = {topic.split("/")[2] for topic in topics if topic.startswith("/selfocc/")}
    assert shown_outputs == outputs


@pytest.mark.parametrize("name", sorted(path.stem for path in resource("config/layouts").glob("*.yaml")))
def test_the_cameras_of_a_preset_can_be_shown_before_they_are_there(name: str, repository: Path) -> None:
    cameras = RigSource.of(NodeParameters(preset=name)).expected()
    assert bool(cameras) == (name != "town")  # whose rigs have any cameras
    topics = image_topics(
        yaml.safe_load(vehicle_layout(layout_file(repository), cameras).text)["Visualization Manager"]
    )
    assert len(topics) == 12
    assert all(f"Camera {camera}" in topics for camera in cameras)


def test_the_layout_of_a_vehicle_has_its_cameras_frame_and_node(repository: Path) -> None:
    cameras = {
        "left": CameraTopics("/left/image_raw", "/left/camera_info", compressed=False),
        "roof": CameraTopics("/roof/image/compressed", "/roof/camera_info", compressed=True),
    }
    layout = vehicle_layout(layout_file(repository), cameras, "car", "/fleet/selfocc")
    manager = yaml.safe_load(layout.text)["Visualization Manager"]
    assert image_topics(manager) == {
        "Camera left": "/left/image_raw",
        "Camera roof": "/roof/image/compressed",
        "Depth left": "/fleet/selfocc/depth/left",
        "Depth roof": "/fleet/selfocc/depth/roof",
    }
    assert manager["Global Options"]["Fixed Frame"] == "car"
    assert manager["Views"]["Current"]["Target Frame"] == "car"
    assert display(manager, "/fleet/selfocc/occupancy_grid")["Update Topic"]["Value"].startswith("/fleet/selfocc/")
    assert "base_link" not in layout.text
    assert "/selfocc" not in layout.text.replace("/fleet/selfocc", "")
    assert layout.remappings == ()


def test_a_compressed_topic_of_another_name_is_remapped(repository: Path) -> None:
    cameras = {"f": CameraTopics("/CAM_FRONT/image_rect_compressed", "/CAM_FRONT/camera_info", compressed=True)}
    layout = vehicle_layout(layout_file(repository), cameras)
    shown = "/CAM_FRONT/image_rect_compressed/compressed"
    assert image_topics(yaml.safe_load(layout.text)["Visualization Manager"])["Camera f"] == shown
    assert layout.remappings == ((shown, "/CAM_FRONT/image_rect_compressed"),)


def test_of_many_cameras_some_pictures_are_open(repository: Path) -> None:
    cameras = {f"c{i}": CameraTopics(f"/c{i}/image_raw", f"/c{i}/camera_info", compressed=False) for i in range(9)}
    manager = yaml.safe_load(vehicle_layout(layout_file(repository), cameras).text)["Visualization Manager"]
    open_ones = [d["Name"] for d in manager["Displays"] if d["Name"].startswith("Camera ") and d["Enabled"]]
    assert open_ones == [f"Camera c{i}" for i in range(6)]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read"), ("{ [", "it is no YAML"), ("a: 1", "Visualization Manager")]
)
def test_fault_a_layout_that_is_none(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "own.rviz"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LayoutError, match=said) as caught:
        vehicle_layout(path)
    assert str(path) in str(caught.value)
