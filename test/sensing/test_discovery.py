# SPDX-License-Identifier: Apache-2.0
"""`cameras: auto` on the topics that real recordings and drivers have."""

from __future__ import annotations

import itertools

import pytest

from selfocc_ros.sensing.discovery import CameraTopics, choose_cameras, find_cameras

RAW = "sensor_msgs/msg/Image"
JPEG = "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"


def test_pandaset_as_recorded_here() -> None:
    names = ["back", "front", "front_left", "front_right", "left", "right"]
    topics = {f"/camera/{name}/image/compressed": JPEG for name in names}
    topics |= {f"/camera/{name}/camera_info": INFO for name in names}
    topics |= {"/tf": "tf2_msgs/msg/TFMessage", "/lidar/points": "sensor_msgs/msg/PointCloud2"}
    found = find_cameras(topics)
    assert list(found) == names
    assert found["left"] == CameraTopics("/camera/left/image/compressed", "/camera/left/camera_info", True)
    assert not found["left"].rectified


def test_nuscenes_to_ros2bag() -> None:
    topics = {"/CAM_FRONT/image_rect_compressed": JPEG, "/CAM_FRONT/camera_info": INFO}
    topics |= {"/CAM_BACK/image_rect_compressed": JPEG, "/CAM_BACK/camera_info": INFO}
    found = find_cameras(topics)
    assert list(found) == ["CAM_BACK", "CAM_FRONT"]
    assert found["CAM_FRONT"] == CameraTopics("/CAM_FRONT/image_rect_compressed", "/CAM_FRONT/camera_info", True)
    assert found["CAM_FRONT"].rectified


def test_a_camera_node_without_a_namespace() -> None:
    found = find_cameras({"/image_raw": RAW, "/camera_info": INFO})
    assert found == {"camera": CameraTopics("/image_raw", "/camera_info", False)}


def test_compressed_goes_before_raw_of_the_same_base() -> None:
    topics = {"/front/image_raw": RAW, "/front/image_raw/compressed": JPEG, "/front/camera_info": INFO}
    assert find_cameras(topics)["front"] == CameraTopics("/front/image_raw/compressed", "/front/camera_info", True)


def test_of_image_procs_topics_the_raw_one_is_taken_in_any_order() -> None:
    names = ["image_raw", "image_mono", "image_color", "image_rect", "image_rect_color", "image_rect/compressed"]
    topics = {f"/front/{name}": JPEG if "/" in name else RAW for name in names} | {"/front/camera_info": INFO}
    for order in itertools.islice(itertools.permutations(topics.items()), 0, None, 97):
        assert find_cameras(dict(order)) == {"front": CameraTopics("/front/image_raw", "/front/camera_info", False)}
    del topics["/front/image_raw"], topics["/front/image_color"]
    assert find_cameras(topics)["front"].image == "/front/image_rect_color"


def test_depth_is_no_camera() -> None:
    topics = {
        "/camera/color/image_raw": RAW,
        "/camera/color/camera_info": INFO,
        "/camera/depth/image_rect_raw": RAW,
        "/camera/depth/camera_info": INFO,
        "/camera/aligned_depth_to_color/image_raw": RAW,
        "/camera/aligned_depth_to_color/camera_info": INFO,
        "/camera/color/image_raw/compressedDepth": JPEG,
    }
    assert list(find_cameras(topics)) == ["color"]


def test_images_without_camera_info_are_no_cameras() -> None:
    assert find_cameras({"/cam_front/raw": RAW, "/odom": "nav_msgs/msg/Odometry"}) == {}
    assert find_cameras({"/cam_front/camera_info": INFO}) == {}
    assert find_cameras({}) == {}
    assert find_cameras({"/front/image": RAW, "/back/camera_info": INFO}) == {}


def test_ros_1_types_are_understood() -> None:
    assert list(find_cameras({"/f/image": "sensor_msgs/Image", "/f/camera_info": "sensor_msgs/CameraInfo"})) == ["f"]


@pytest.mark.parametrize(
    ("namespaces", "names"),
    [
        (["/left/rgb", "/right/rgb"], ["left_rgb", "right_rgb"]),
        (["/car/front", "/car/back"], ["back", "front"]),
        (["/a/camera", "/b/camera", "/c/fish"], ["a_camera", "b_camera", "c_fish"]),
        (["/camera", ""], ["/", "/camera"]),
        (["/a_b/c", "/a/b_c", "/x/c", "/x/b_c"], ["/a/b_c", "/a_b/c", "/x/b_c", "/x/c"]),
        (["/oak/rgb", "/rgb"], ["oak_rgb", "rgb"]),
    ],
)
def test_names_are_as_short_as_they_can_be_told_apart(namespaces: list[str], names: list[str]) -> None:
    topics = {f"{namespace}/image": RAW for namespace in namespaces}
    topics |= {f"{namespace}/camera_info": INFO for namespace in namespaces}
    found = find_cameras(topics)
    assert sorted(found) == names
    assert {camera.info for camera in found.values()} == {f"{namespace}/camera_info" for namespace in namespaces}


def test_camera_info_below_the_image_topic_is_taken_too() -> None:
    topics = {"/front/compressed": JPEG, "/front/camera_info": INFO, "/back": RAW, "/back/camera_info": INFO}
    found = find_cameras(topics)
    assert found["front"].info == "/front/camera_info"
    assert found["back"].info == "/back/camera_info"


@pytest.mark.parametrize(
    ("image", "rectified"),
    [
        ("/f/image_rect", True),
        ("/f/image_rect_color/compressed", True),
        ("/f/image_rectified", True),
        ("/f/image_raw", False),
        ("/rect/image", False),
        ("/f/image_direct", False),
    ],
)
def test_rectified_images_are_known_by_name(image: str, rectified: bool) -> None:
    assert CameraTopics(image, "/f/camera_info", False).rectified is rectified


def test_an_entry_is_a_name_a_topic_or_a_namespace() -> None:
    topics = {f"/camera/{name}/image/compressed": JPEG for name in ("front", "left")}
    found = find_cameras(topics | {f"/camera/{name}/camera_info": INFO for name in ("front", "left")})
    for entry in (
        "front",
        "/camera/front",
        "camera/front",
        "/camera/front/image",
        "/camera/front/image/compressed",
        "/camera/front/",
    ):
        assert choose_cameras(found, [entry]) == ({"front": found["front"]}, ()), entry
    for entry in ("/camera", "fron", "image", "/front", "rear"):
        assert choose_cameras(found, [entry]) == ({}, (entry,)), entry
    assert list(choose_cameras(found, ["left", "rear", "front"])[0]) == ["left", "front"]
