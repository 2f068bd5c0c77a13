# SPDX-License-Identifier: Apache-2.0
"""Preprocessing: what a point hits in the original image, the scaled rig hits in the network's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import pose_from_rpy
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.sensing.frames import CameraFrame, DecodeError, RigSample
from selfocc_ros.sensing.preprocess import NetworkInput, preprocess, used_size

LENSES = {
    "pinhole": (),
    "plumb_bob": (-0.28, 0.07, 0.001, -0.001, 0.0),
    "rational_polynomial": (0.50, 0.20, 0.001, -0.001, 0.02, 0.90, 0.30, 0.05),
    "equidistant": (-0.02, 0.01, -0.003, 0.0005),
}


def camera(width: int, height: int, model: str = "pinhole", focal: float = 0.55) -> CameraModel:
    f = focal * width
    matrix = np.array([[f, 0, 0.49 * width], [0, f, 0.52 * height], [0, 0, 1]])
    return CameraModel(width, height, matrix, model, LENSES[model])


def frame(name: str, rgb: np.ndarray, encoding: str) -> CameraFrame:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    if encoding == "bgr8":
        height, width = rgb.shape[:2]
        return CameraFrame(name, 0, name, "bgr8", bgr.tobytes(), width, height, 3 * width)
    suffix, options = (".png", []) if encoding == "png" else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 97])
    return CameraFrame(name, 0, name, encoding, cv2.imencode(suffix, bgr, options)[1])


def sample(*entries: tuple[CameraFrame, CameraModel]) -> RigSample:
    poses = np.stack([pose_from_rpy((i, 0, 1), 0, 0, i) for i in range(len(entries))])
    names = tuple(f.camera for f, _ in entries)
    return RigSample(5, CameraRig(names, tuple(c for _, c in entries), poses), tuple(f for f, _ in entries))


def centroid(image: np.ndarray, near: np.ndarray, reach: float) -> np.ndarray:
    """Centre of the light within `reach` pixels."""
    v, u = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    weight = image[..., 0].astype(float) * ((u - near[0]) ** 2 + (v - near[1]) ** 2 < reach**2)
    return np.array([(weight * u).sum(), (weight * v).sum()]) / weight.sum()


def spots(model: CameraModel, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Directions of a few soft spots, and the image in which this camera sees them."""
    rays = model.unproject([[model.width * x, model.height * y] for x in (0.25, 0.5, 0.7) for y in (0.3, 0.55, 0.75)])
    pixels, valid = model.project(rays)
    assert valid.all()
    v, u = np.mgrid[0 : model.height, 0 : model.width]
    light = np.zeros((model.height, model.width))
    for pixel in pixels:
        light += np.exp(-((u - pixel[0]) ** 2 + (v - pixel[1]) ** 2) / (2 * (1.5 * scale) ** 2))
    return rays, np.repeat((250 * light).clip(0, 250)[..., None], 3, axis=-1).astype(np.uint8)


@pytest.mark.parametrize("encoding", ["jpeg", "png", "bgr8"])
@pytest.mark.parametrize("model", LENSES)
@pytest.mark.parametrize("size", [(960, 540), (641, 427), (1203, 777), (130, 90)])
def test_the_scaled_rig_hits_the_same_content(size: tuple[int, int], model: str, encoding: str) -> None:
    cam = camera(*size, model)
    rays, image = spots(cam, max(1.0, size[0] / 256))
    out = preprocess(sample((frame("front", image, encoding), cam)), (256, 144))
    network_camera = out.rig.cameras[0]
    assert network_camera.model == "pinhole"
    expected, valid = network_camera.project(rays)
    assert valid.sum() >= 5
    for pixel in expected[valid]:
        if np.all(pixel > 6) and pixel[0] < network_camera.width - 7 and pixel[1] < network_camera.height - 7:
            found = centroid(out.images[0], pixel, 6.0)
            # Undistorting stretches spots off-centre a little; a wrong half pixel would show as 0.3 and more.
            assert np.abs(found - pixel).max() < (0.1 if model == "pinhole" else 0.2)


@pytest.mark.parametrize(
    ("size", "input_size", "used"),
    [
        ((960, 540), (256, 144), (256, 144)),
        ((1600, 900), (256, 160), (256, 144)),
        ((640, 480), (256, 144), (192, 144)),
        ((480, 640), (256, 144), (108, 144)),
        ((100, 50), (256, 144), (256, 128)),
        ((5000, 2), (256, 144), (256, 1)),
    ],
)
def test_proportions_are_kept_and_the_rest_is_black(
    size: tuple[int, int], input_size: tuple[int, int], used: tuple[int, int]
) -> None:
    assert used_size(size, input_size) == used
    white = np.full((size[1], size[0], 3), 255, np.uint8)
    out = preprocess(sample((frame("front", white, "bgr8"), camera(*size))), input_size)
    assert out.images.shape == (1, input_size[1], input_size[0], 3)
    assert out.images.dtype == np.uint8
    assert (out.rig.cameras[0].width, out.rig.cameras[0].height) == used
    expected = np.zeros_like(out.images)
    expected[:, : used[1], : used[0]] = 255
    np.testing.assert_array_equal(out.images, expected)


def test_colours_are_rgb_for_every_encoding() -> None:
    orange = np.broadcast_to(np.array([250, 120, 10], np.uint8), (144, 256, 3))
    cam = camera(256, 144)
    for encoding in ("jpeg", "png", "bgr8"):
        out = preprocess(sample((frame("front", orange, encoding), cam)), (256, 144))
        assert np.abs(out.images[0].astype(int) - (250, 120, 10)).max() <= 4
    grey = CameraFrame("front", 0, "front", "mono8", bytes([77]) * (256 * 144), 256, 144, 256)
    assert (preprocess(sample((grey, cam)), (128, 72)).images == 77).all()
    distorted = camera(256, 144, "plumb_bob")
    assert (preprocess(sample((grey, distorted)), (128, 72)).images[0, 30:40, 60:70] == 77).all()


def test_undistorting_is_opencvs() -> None:
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.integers(0, 255, (90, 160, 3), dtype=np.uint8), (0, 0), 2.0)
    cam = camera(160, 90, "plumb_bob")
    out = preprocess(sample((frame("front", noise, "png"), cam)), (160, 90))
    expected = cv2.undistort(noise, cam.matrix.copy(), np.array(cam.distortion))
    assert np.abs(out.images[0].astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(out.rig.cameras[0].matrix, cam.matrix)


def test_what_a_lens_does_not_show_is_black() -> None:
    # A fisheye shows 60 degrees to either side, its pinhole of the same matrix would reach further in the corners.
    cam = CameraModel(200, 200, np.array([[150.0, 0, 99.5], [0, 150, 99.5], [0, 0, 1]]), "plumb_bob", (0.6, 0, 0, 0))
    white = np.full((200, 200, 3), 255, np.uint8)
    image = preprocess(sample((frame("front", white, "bgr8"), cam)), (200, 200)).images[0]
    assert (image[0, 0] == 0).all()
    assert (image[100, 100] == 255).all()


def test_each_camera_has_its_own_size_lens_and_pose() -> None:
    entries = []
    for i, (size, model) in enumerate(
        [((960, 540), "pinhole"), ((640, 480), "plumb_bob"), ((320, 200), "equidistant")]
    ):
        value = np.full((size[1], size[0], 3), 60 * (i + 1), np.uint8)
        entries.append((frame(f"cam{i}", value, "bgr8"), camera(*size, model)))
    whole = sample(*entries)
    out = preprocess(whole, (256, 144))
    assert out.rig.names == ("cam0", "cam1", "cam2")
    np.testing.assert_array_equal(out.rig.base_from_camera, whole.rig.base_from_camera)
    for i in range(3):
        used = out.rig.cameras[i]
        assert out.images[i, used.height // 2, used.width // 2].tolist() == [60 * (i + 1)] * 3
    assert out.failed == {}


def test_the_same_cameras_give_the_same_rig_each_time() -> None:
    cam = camera(641, 427, "plumb_bob")
    image = np.zeros((427, 641, 3), np.uint8)
    rigs = [preprocess(sample((frame("front", image + i, "jpeg"), cam)), (256, 144)).rig for i in range(3)]
    assert len({rig.fingerprint() for rig in rigs}) == 1


@pytest.mark.fault
def test_a_camera_that_fails_is_left_out_and_the_others_get_through() -> None:
    cam = camera(96, 54)
    good = np.full((54, 96, 3), 200, np.uint8)
    entries = [
        (CameraFrame("cut", 0, "cut", "jpeg", frame("x", good, "jpeg").data[:-30]), cam),
        (frame("left", good, "jpeg"), cam),
        (CameraFrame("odd", 0, "odd", "nv24", b"", 96, 54), cam),
        (frame("small", good[:27, :48], "jpeg"), cam),
        (frame("right", good // 2, "png"), cam),
    ]
    whole = sample(*entries)
    out = preprocess(whole, (64, 36))
    assert isinstance(out, NetworkInput)
    assert out.rig.names == ("left", "right")
    assert out.images.shape == (2, 36, 64, 3)
    assert out.images[0].mean() > 190
    assert out.images[1].mean() == pytest.approx(100, abs=1)
    np.testing.assert_array_equal(out.rig.base_from_camera, whole.rig.base_from_camera[[1, 4]])
    assert set(out.failed) == {"cut", "odd", "small"}
    assert "cut off" in out.failed["cut"]
    assert "'nv24' is not supported" in out.failed["odd"]
    assert out.failed["small"] == "camera 'small': the image is 48x27, but its calibration is for 96x54"


@pytest.mark.fault
def test_a_sample_without_one_good_image_is_refused_with_all_reasons() -> None:
    cam = camera(96, 54)
    broken = [(CameraFrame(name, 0, name, "jpeg", b"nothing"), cam) for name in ("left", "right")]
    with pytest.raises(
        DecodeError, match=r"no image of the sample at 0\.000 s can be used: camera 'left'.*; camera 'rig"
    ):
        preprocess(sample(*broken), (64, 36))
    empty = RigSample(5, CameraRig((), (), np.zeros((0, 4, 4))), ())
    with pytest.raises(DecodeError, match="holds no camera"):
        preprocess(empty, (64, 36))
