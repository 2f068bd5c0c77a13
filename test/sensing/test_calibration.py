# SPDX-License-Identifier: Apache-2.0
"""Calibration files: all forms that say the same, and a clear sentence for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from selfocc_ros.configuration import ConfigError
from selfocc_ros.geometry.poses import body_from_optical, matrix_to_quaternion, pose_from_rpy
from selfocc_ros.sensing.calibration import parse_extrinsics, read_calibrations

K = [40.0, 0.0, 23.5, 0.0, 41.0, 15.5, 0.0, 0.0, 1.0]
D = [-0.3, 0.1, 0.001, -0.002, 0.0]
P = [38.0, 0.0, 23.0, 0.0, 0.0, 39.0, 15.0, 0.0, 0.0, 0.0, 1.0, 0.0]
OF_ROS = {
    "image_width": 48,
    "image_height": 32,
    "camera_name": "front",
    "camera_matrix": {"rows": 3, "cols": 3, "data": K},
    "distortion_model": "plumb_bob",
    "distortion_coefficients": {"rows": 1, "cols": 5, "data": D},
    "rectification_matrix": {"rows": 3, "cols": 3, "data": [1, 0, 0, 0, 1, 0, 0, 0, 1]},
    "projection_matrix": {"rows": 3, "cols": 4, "data": P},
}
OURS = {"width": 48, "height": 32, "k": K, "model": "plumb_bob", "d": D}
MOUNT = pose_from_rpy((1.5, -0.2, 1.4), 0.01, 0.05, 0.7) @ body_from_optical()


def write(path: Path, values: Any) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


def cameras(**entries: Any) -> dict[str, Any]:
    return {"cameras": entries}


def test_all_forms_of_intrinsics_say_the_same(tmp_path: Path) -> None:
    write(tmp_path / "front.yaml", OF_ROS)
    forms = (OF_ROS, cameras(front={"intrinsics": OURS}), cameras(front={"intrinsics": OF_ROS}),
             cameras(front={"intrinsics": "front.yaml"}))  # fmt: skip
    for number, values in enumerate(forms):
        [(name, calibration)] = read_calibrations(write(tmp_path / f"{number}.yaml", values)).items()
        assert name == "front"
        assert calibration.intrinsics is not None
        camera = calibration.intrinsics.camera()
        assert (camera.width, camera.height, camera.model, camera.distortion) == (48, 32, "plumb_bob", tuple(D))
        np.testing.assert_array_equal(camera.matrix.ravel(), K)


def test_rectified_images_get_the_projection_matrix_where_it_is_known(tmp_path: Path) -> None:
    known = read_calibrations(write(tmp_path / "known.yaml", OF_ROS))["front"].intrinsics
    plain = read_calibrations(write(tmp_path / "plain.yaml", cameras(front={"intrinsics": OURS})))["front"].intrinsics
    assert known is not None
    assert plain is not None
    rectified = known.camera(rectified=True)
    assert not rectified.is_distorted
    np.testing.assert_array_equal(rectified.matrix, [[38, 0, 23], [0, 39, 15], [0, 0, 1]])
    assert plain.camera(rectified=True) == plain.camera()  # who writes K himself means the images as they are


@pytest.mark.parametrize(
    "values",
    [
        {"translation": [1.5, -0.2, 1.4], "quaternion": matrix_to_quaternion(MOUNT[:3, :3]).tolist()},
        {"translation": [1.5, -0.2, 1.4], "rpy": [0.01, 0.05, 0.7], "axes": "body"},
        {"matrix": MOUNT.tolist()},
        {"matrix": MOUNT.ravel().tolist()},
        {"matrix": (MOUNT @ np.linalg.inv(body_from_optical())).tolist(), "axes": "body"},
    ],
)
def test_all_forms_of_mountings_say_the_same(values: dict[str, Any]) -> None:
    np.testing.assert_allclose(parse_extrinsics(values, "here").base_from_camera(), MOUNT, atol=1e-12)


def test_rpy_of_the_optical_frame_is_that_of_static_transform_publisher() -> None:
    given = parse_extrinsics({"translation": [0, 0, 1], "rpy": [-np.pi / 2, 0, -np.pi / 2]}, "here")
    np.testing.assert_allclose(given.base_from_camera()[:3, :3], body_from_optical()[:3, :3], atol=1e-12)


GOOD = {"translation": [0, 0, 1], "rpy": [0, 0, 0]}


@pytest.mark.fault
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "key 'cameras' must map camera names to calibrations, found None"),
        ({"camras": {}}, "unknown key 'camras' (did you mean 'cameras'?)"),
        (cameras(front=3), "camera 'front' must have 'intrinsics', 'extrinsics' or both, found 3"),
        (cameras(front={}), "camera 'front' must have 'intrinsics', 'extrinsics' or both, found neither"),
        (cameras(front={"intrinsic": OURS}), "camera 'front': unknown key 'intrinsic' (did you mean 'intrinsics'?)"),
        (cameras(front={"intrinsics": 7}), "intrinsics must be a mapping or the name of a file, found 7"),
        (cameras(front={"intrinsics": "no.yaml"}), "no.yaml: cannot be read (No such file or directory)"),
        (cameras(front={"intrinsics": {**OURS, "k": K[:8]}}), "intrinsics: the camera matrix K has 9 numbers, found 8"),
        (cameras(front={"intrinsics": {**OURS, "k": ["x"] * 9}}), "intrinsics: k must be float, found 'x'"),
        (cameras(front={"intrinsics": {**OURS, "d": [1.0]}}), "'plumb_bob' takes 4 or 5 coefficients, found 1"),
        (cameras(front={"intrinsics": {**OURS, "model": "cubist"}}), "unknown distortion model 'cubist'"),
        (cameras(front={"intrinsics": {**OURS, "width": 0}}), "the image size must be at least 1x1, found 0x32"),
        (cameras(front={"intrinsics": {"k": K}}), "intrinsics: key 'width' is missing"),
        ({key: value for key, value in OF_ROS.items() if key != "image_width"}, "key 'image_width' is missing"),
        ({**OF_ROS, "camera_matrix": 4}, "key 'camera_matrix' must have a list 'data' of numbers, found 4"),
        ({**OF_ROS, "camera_name": ""}, "key 'camera_name' must say which camera this is, found ''"),
        (cameras(front={"extrinsics": 5}), "extrinsics must be a mapping, found 5"),
        (cameras(front={"extrinsics": {"rpy": [0, 0, 0]}}), "needs 'translation' and one of 'quaternion' and 'rpy'"),
        (cameras(front={"extrinsics": {**GOOD, "quaternion": [0, 0, 0, 1]}}), "one of 'quaternion' and 'rpy'"),
        (cameras(front={"extrinsics": {**GOOD, "rpy": [0, 0]}}), "extrinsics: rpy must be 3 numbers, found [0, 0]"),
        (cameras(front={"extrinsics": {**GOOD, "rpy": [0, 0, float("nan")]}}), "extrinsics: rpy holds NaN or infinity"),
        (cameras(front={"extrinsics": {**GOOD, "axis": "body"}}), "unknown key 'axis' (did you mean 'axes'?)"),
        (cameras(front={"extrinsics": {**GOOD, "axes": "ned"}}), "axes must be 'optical' or 'body', found 'ned'"),
        (cameras(front={"extrinsics": {**GOOD, "matrix": []}}), "'matrix' says everything: remove the other keys"),
        (cameras(front={"extrinsics": {"matrix": [1, 2]}}), "extrinsics: matrix must be 16 numbers, found [1, 2]"),
        (cameras(front={"extrinsics": {"matrix": (2 * np.eye(4)).tolist()}}), "matrix is no rigid transform"),
        (
            cameras(front={"extrinsics": {"translation": [0, 0, 1], "quaternion": [0, 0, 0, 0]}}),
            "a quaternion must be finite and not of length zero",
        ),
    ],
)  # fmt: skip
def test_fault_each_mistake_has_its_sentence(tmp_path: Path, values: Any, sentence: str) -> None:
    path = write(tmp_path / "mine.yaml", values)
    with pytest.raises(ConfigError) as caught:
        read_calibrations(path)
    assert sentence in str(caught.value)
    assert "mine.yaml" in str(caught.value) or "no.yaml" in str(caught.value)
    assert str(caught.value).count(str(path)) <= 1


@pytest.mark.fault
def test_fault_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml: cannot be read"):
        read_calibrations(tmp_path / "mine.yaml")


def test_the_example_of_the_documentation_can_be_read(repository: Path, tmp_path: Path) -> None:
    section = (repository / "docs" / "node.md").read_text().partition("### Calibration files")[2]
    example = section.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "mine.yaml").write_text(example)
    write(tmp_path / "rear.yaml", OF_ROS)
    found = read_calibrations(tmp_path / "mine.yaml")
    assert list(found) == ["front", "left", "rear"]
    ahead = {name: c.extrinsics.base_from_camera()[:2, 2] for name, c in found.items() if c.extrinsics is not None}
    np.testing.assert_allclose([ahead["front"], ahead["left"], ahead["rear"]], [[1, 0], [0, 1], [-1, 0]], atol=2e-3)
