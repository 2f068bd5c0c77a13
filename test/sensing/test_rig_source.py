# SPDX-License-Identifier: Apache-2.0
"""What parameters, presets and calibration files say together, and which of them goes before which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from selfocc_ros.configuration import ConfigError
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.sensing.frames import CameraFrame
from selfocc_ros.sensing.layout import Layout, load_layout
from selfocc_ros.sensing.rig_source import RigSource

IMAGE, COMPRESSED, INFO = (f"sensor_msgs/msg/{kind}" for kind in ("Image", "CompressedImage", "CameraInfo"))
INTRINSICS = {"width": 48, "height": 32, "k": [40.0, 0, 23.5, 0, 40.0, 15.5, 0, 0, 1]}
EXTRINSICS = {"translation": [1.0, 0.0, 1.5], "rpy": [0.0, 0.0, 0.0], "axes": "body"}


def source(tmp_path: Path, calibrations: Any = None, **parameters: Any) -> RigSource:
    if calibrations is not None:
        (tmp_path / "calibration.yaml").write_text(yaml.safe_dump({"cameras": calibrations}))
        parameters["calibration_file"] = str(tmp_path / "calibration.yaml")
    return RigSource.of(NodeParameters.of(parameters))


def own_preset(tmp_path: Path, **values: Any) -> str:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    return str(tmp_path / "mine.yaml")


def test_what_is_set_goes_before_the_preset(tmp_path: Path) -> None:
    preset = source(tmp_path, preset="nuscenes_to_ros2bag").parameters
    assert (preset.fixed_frame, preset.max_skew) == ("map", 0.055)
    asked = source(tmp_path, preset="nuscenes_to_ros2bag", fixed_frame="world", max_skew=0.08).parameters
    assert (asked.fixed_frame, asked.max_skew) == ("world", 0.08)
    assert source(tmp_path, preset="dataset_bridge").parameters.max_skew == 0.1


def test_templates_name_topics_in_the_case_that_is_asked_for(tmp_path: Path) -> None:
    layout = load_layout("nuscenes_to_ros2bag")
    assert layout.cameras["back_left"].image == "/CAM_BACK_LEFT/image_rect_compressed"
    assert layout.cameras["back_left"].info == "/CAM_BACK_LEFT/camera_info"
    path = own_preset(tmp_path, preset="nuscenes_to_ros2bag", case="lower", cameras={"front": {"image": "/x/{camera}"}})
    mine = load_layout(path)
    assert mine.cameras["front"].image == "/x/front"
    assert mine.cameras["back"].image == "/CAM_back/image_rect_compressed"


def test_transport_chooses_between_raw_and_compressed(tmp_path: Path) -> None:
    types = {"/front/image": IMAGE, "/front/image/compressed": COMPRESSED, "/front/camera_info": INFO}
    for transport, ending in (("raw", ""), ("compressed", "/compressed"), ("auto", "")):
        path = own_preset(
            tmp_path, cameras=["front"], image="/{camera}/image", info="/{camera}/camera_info", transport=transport
        )
        [found] = source(tmp_path, preset=path).find(types).values()
        assert (found.image, found.info, found.compressed) == (
            f"/front/image{ending}",
            "/front/camera_info",
            transport == "compressed",
        )


def test_a_calibration_file_makes_cameras_of_images_without_camera_info(tmp_path: Path) -> None:
    types = {
        "/rig/front/image_raw": IMAGE,
        "/rig/back/image_raw": IMAGE,
        "/left/image": IMAGE,
        "/left/camera_info": INFO,
    }
    both = source(tmp_path, {"front": {"intrinsics": INTRINSICS}, "left": {"intrinsics": INTRINSICS}})
    found = both.find(types)
    assert {name: (t.image, t.info) for name, t in found.items()} == {
        "front": ("/rig/front/image_raw", ""),
        "left": ("/left/image", ""),
    }
    assert set(both.models(found)) == {"front", "left"}
    only_mounted = source(tmp_path, {"left": {"extrinsics": EXTRINSICS}})
    found = only_mounted.find(types)
    assert {name: t.info for name, t in found.items()} == {"left": "/left/camera_info"}
    assert only_mounted.models(found) == {}


def test_a_mounting_of_a_file_goes_before_the_transforms(tmp_path: Path) -> None:
    given = source(tmp_path, {"front": {"extrinsics": EXTRINSICS}}, base_frame="car")
    [(base, frame, base_from_camera)] = given.mountings(["front", "left"])
    assert base == "car"
    np.testing.assert_allclose(base_from_camera[:3, 3], [1.0, 0.0, 1.5])
    for camera, expected in (("front", frame), ("left", "left_optical")):
        settled = given.settle(CameraFrame(camera, 5, f"{camera}_optical", "jpeg", b""), 9)
        assert (settled.frame_id, settled.stamp_ns) == (expected, 5)
    assert frame != "front_optical"


def test_stamps_of_receiving(tmp_path: Path) -> None:
    received = source(tmp_path, stamp="receive").settle(CameraFrame("front", 5, "x", "jpeg", b""), 9)
    assert received.stamp_ns == 9


def test_phases_and_min_cameras_reach_the_synchroniser(tmp_path: Path) -> None:
    """A camera that fires 80 ms later is of the same set where that is known, and of none where it is not."""
    ms = 1_000_000
    sets = {}
    for phases in ((), ("back=0.08",), ("back=0.08", "roof=0.01")):
        sync = source(tmp_path, phases=phases, min_cameras=2, max_skew=0.03).synchronizer(["front", "back"])
        out = []
        for k in range(10):
            out += sync.push("front", k * 200 * ms, k)
            out += sync.push("back", (k * 200 + 80) * ms, k)
        sets[phases] = [frame_set.items for frame_set in out + sync.flush()]
    assert sets[()] == []
    expected = [{"front": k, "back": k} for k in range(10)]
    assert sets[("back=0.08",)] == sets[("back=0.08", "roof=0.01")] == expected
    [sentence] = source(tmp_path, phases=("roof=0.01",)).strangers(["front", "back"])
    assert sentence == "parameter phases has camera 'roof', but no camera has that name (there are: front, back)"


def test_the_phases_of_a_preset_are_those_of_its_rig(tmp_path: Path) -> None:
    assert source(tmp_path, preset="pandaset").phases()["back"] == -0.05
    assert source(tmp_path, preset="pandaset", phases=("back=0.01",)).phases() == {"back": 0.01}


def test_wanted_cameras_of_a_preset(tmp_path: Path) -> None:
    assert source(tmp_path, preset="dataset_bridge").wanted[:2] == ("front", "front_left")
    assert source(tmp_path, preset="dataset_bridge", cameras=("back",)).wanted == ("back",)
    assert source(tmp_path, preset="town").wanted == ("auto",)  # its cameras have any name
    absent = source(tmp_path, preset="dataset_bridge").absent("front", [], ["/other/image"])
    assert (
        absent
        == "camera 'front' of preset dataset_bridge: no images on /nuscenes/CAM_FRONT/image (there are: /other/image)"
    )


def test_a_layout_says_all_that_is_known(tmp_path: Path) -> None:
    types = {f"/cam_{name}/raw": IMAGE for name in ("front", "back")}
    given = source(tmp_path, {"front": {"intrinsics": INTRINSICS, "extrinsics": EXTRINSICS}}, preset="nuscenes2bag")
    layout = given.as_layout(given.find(types))
    again = Layout.from_dict(yaml.safe_load(yaml.safe_dump(layout.to_dict())), "again")
    assert again.fingerprint() == layout.fingerprint()
    other = RigSource.of_layout(again)
    assert other.find(types) == given.find(types)
    assert other.models(other.find(types)) == given.models(given.find(types))
    np.testing.assert_allclose(other.mountings(["front"])[0][2], given.mountings(["front"])[0][2], atol=1e-12)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"case": "title"}, "case must be one of keep, upper, lower, found 'title'"),
        ({"transport": "theora"}, "transport must be 'auto' or 'raw' or 'compressed', found 'theora'"),
        ({"phases": {"fornt": 0.1}}, "phases: there is no camera 'fornt' (did you mean 'front'?)"),
        ({"phases": {"front": "late"}}, "phases: camera 'front' must have a number of seconds, found 'late'"),
        ({"phases": 3}, "phases must map camera names to seconds, found 3"),
        ({"max_skew": -1.0}, "max_skew must be 0 or more seconds, found -1.0"),
        ({"cameras": ["a b"]}, "camera 'a b' needs a name of letters"),
        ({"preset": "nuscene2bag"}, "config/layouts has no 'nuscene2bag' (known: "),
        ({"cameras": {"front": {"extrinsics": {}}}}, "camera 'front': extrinsics needs 'translation'"),
    ],
)
def test_fault_wrong_presets(tmp_path: Path, values: dict[str, Any], sentence: str) -> None:
    preset = own_preset(tmp_path, **{"cameras": ["front"], "image": "/{camera}/image", **values})
    with pytest.raises(ConfigError) as caught:
        source(tmp_path, preset=preset)
    assert sentence in str(caught.value)


@pytest.mark.fault
def test_fault_a_preset_that_is_based_on_itself(tmp_path: Path) -> None:
    path = own_preset(tmp_path, preset=str(tmp_path / "mine.yaml"))
    with pytest.raises(ConfigError, match="is based on itself"):
        load_layout(path)
