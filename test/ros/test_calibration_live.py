# SPDX-License-Identifier: Apache-2.0
"""Lenses, calibration files and mountings that change, from topics to what a network would see; over DDS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import TransformStamped
from input_bench import InputBench, camera_info, input_bench, raw_image, stamped
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import body_from_optical, matrix_to_quaternion, pose_from_rpy
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.ros import qos
from selfocc_ros.ros.mountings import MountingBroadcaster
from selfocc_ros.ros.transforms import TransformListener
from selfocc_ros.sensing.frames import RigSample
from selfocc_ros.sensing.gather import gather_sample
from selfocc_ros.sensing.preprocess import preprocess

MS = 1_000_000
K = np.array([[120.0, 0, 79.5], [0, 118.0, 59.5], [0, 0, 1]])
LENSES = {
    "plumb_bob": (-0.30, 0.09, 0.001, -0.001, 0.0),
    "rational_polynomial": (0.40, 0.05, 0.0005, -0.001, 0.01, 0.75, 0.15, 0.02),
    "equidistant": (0.05, -0.01, 0.003, 0.0),
}


def scene(directions: Any) -> Any:
    """A soft pattern over directions (...,3): what a camera sees of a far wall, uint8 (...,3); black where NaN."""
    x, y = directions[..., 0] / directions[..., 2], directions[..., 1] / directions[..., 2]
    waves = np.stack([np.sin(6 * x), np.sin(7 * y + 1), np.sin(4 * (x + y))], axis=-1)
    return np.nan_to_num(127.5 + 120.0 * waves).round().astype(np.uint8)


def sample_of(bench: InputBench) -> RigSample:
    """The newest set as a sample, as the pipeline makes it."""
    return gather_sample(bench.sets[-1], bench.inputs.models(), {}, bench.tree, "base_link", "odom")


def mount(bench: InputBench, x: float) -> None:
    bench.tree.set_static("base_link", "front_optical", pose_from_rpy((x, 0, 1.5), 0, 0, 0) @ body_from_optical())


@pytest.mark.parametrize("model", LENSES)
def test_images_of_every_lens_are_undistorted(model: str) -> None:
    lens = CameraModel(160, 120, K, model, LENSES[model])
    with input_bench() as bench:
        images = bench.publisher(Image, "/front/image_raw")
        infos = bench.publisher(CameraInfo, "/front/camera_info", latched=True)
        infos.publish(camera_info(lens))
        mount(bench, 1.0)
        seen = scene(lens.pixel_rays())
        bench.until(lambda: "front" in bench.inputs.models() and images.get_subscription_count(), "the camera")
        images.publish(raw_image(1000 * MS, seen))
        bench.until(lambda: bench.sets, "a set")
        network = preprocess(sample_of(bench), (160, 120))
    [straight] = network.rig.cameras
    assert not straight.is_distorted
    expected = scene(straight.pixel_rays()).astype(int)
    # The last pixel of what the lens shows is mixed with the black beyond it.
    _, shown = lens.project(straight.pixel_rays())
    inner = shown.copy()
    inner[1:-1, 1:-1] &= shown[:-2, 1:-1] & shown[2:, 1:-1] & shown[1:-1, :-2] & shown[1:-1, 2:]
    assert inner.mean() > 0.5
    off = np.abs(network.images[0].astype(int) - expected).max(axis=-1)
    assert np.quantile(off[inner], 0.99) <= 3
    # What was not undistorted would be seen by this.
    assert np.quantile(np.abs(seen.astype(int) - expected).max(axis=-1)[inner], 0.99) > 30


def test_a_calibration_file_stands_in_for_camera_info_and_transforms(tmp_path: Path) -> None:
    lens = CameraModel(160, 120, K, "plumb_bob", LENSES["plumb_bob"])
    given = {
        "intrinsics": {"width": 160, "height": 120, "k": K.ravel().tolist(), "model": lens.model,
                       "d": list(lens.distortion)},
        "extrinsics": {"translation": [1.0, 0.2, 1.5], "rpy": [0.0, 0.1, 0.3], "axes": "body"},
    }  # fmt: skip
    file = tmp_path / "calibration.yaml"
    file.write_text(yaml.safe_dump({"cameras": {"front": given, "roof": given}}))
    with input_bench(calibration_file=str(file)) as bench:
        images = bench.publisher(Image, "/rig/front/image_raw")
        bench.until(images.get_subscription_count, "the camera")
        images.publish(stamped(raw_image(1000 * MS, scene(lens.pixel_rays())), 1000 * MS, ""))
        bench.until(lambda: bench.sets, "a set")
        sample = sample_of(bench)
        snapshot = bench.status.snapshot()
    assert sample.rig.names == ("front",)
    assert sample.rig.cameras == (lens,)
    expected = pose_from_rpy((1.0, 0.2, 1.5), 0.0, 0.1, 0.3) @ body_from_optical()
    np.testing.assert_allclose(sample.rig.base_from_camera[0], expected, atol=1e-12)
    assert not snapshot.waiting
    assert bench.told == [f"{file} has camera 'roof', but no camera has that name (there are: front)"]


def test_others_hear_of_mountings_that_come_from_a_file(tmp_path: Path) -> None:
    mounting = {"translation": [1.0, 0.2, 1.5], "rpy": [0.0, 0.1, 0.3], "axes": "body"}
    file = tmp_path / "calibration.yaml"
    file.write_text(yaml.safe_dump({"cameras": {"front": {"extrinsics": mounting}}}))
    with input_bench(calibration_file=str(file)) as bench:
        broadcaster = MountingBroadcaster(bench.listener)
        bench.announce = broadcaster.tell
        other = TransformTree()
        bench.publisher(Image, "/front/image_raw")
        bench.publisher(CameraInfo, "/front/camera_info")
        bench.until(lambda: bench.inputs.cameras, "the camera")
        listener = TransformListener(bench.camera, other, bench.told.append)  # who comes later hears of it too
        bench.until(lambda: "front_calibrated" in other.frames(), "the mounting")
        expected = pose_from_rpy((1.0, 0.2, 1.5), 0.0, 0.1, 0.3) @ body_from_optical()
        np.testing.assert_allclose(other.lookup("base_link", "front_calibrated", 0), expected, atol=1e-9)
        listener.close()
        broadcaster.close()
        broadcaster.tell([])  # nothing to tell, nothing published
        assert "/tf_static" not in [publisher.topic_name for publisher in bench.listener.publishers]


def test_a_preset_without_camera_info_says_what_it_needs() -> None:
    with input_bench(preset="nuscenes2bag", cameras=("front",)) as bench:
        images = bench.publisher(Image, "/cam_front/raw")
        bench.until(images.get_subscription_count, "the camera")
        waiting = bench.status.snapshot().waiting
    sentence = (
        "camera 'front' (/cam_front/raw) has no CameraInfo: give its intrinsics in calibration_file or in the preset"
    )
    assert bench.told == [sentence]
    assert sentence in waiting


def test_a_preset_names_the_topics_that_it_misses() -> None:
    with input_bench(preset="nuscenes_to_ros2bag") as bench:
        bench.publisher(Image, "/elsewhere/image")
        bench.until(lambda: len(bench.status.snapshot().waiting) == 6, "six cameras that are missed")
        waiting = bench.status.snapshot().waiting
    assert waiting[1] == (
        "camera 'front_left' of preset nuscenes_to_ros2bag: no images on /CAM_FRONT_LEFT/image_rect_compressed "
        "(there are: /elsewhere/image)"
    )


def test_qos_can_be_forced() -> None:
    for policy, reliable in (("reliable", True), ("best_effort", False)):
        with input_bench(qos=policy) as bench:
            offered = bench.publisher(Image, "/front/image_raw", reliable=not reliable)
            bench.publisher(CameraInfo, "/front/camera_info")
            bench.until(lambda bench=bench: bench.inputs.cameras, "the camera")
            bench.until(lambda bench=bench: list(bench.listener.subscriptions), "the subscription")
            [info] = [s for s in bench.listener.subscriptions if s.topic_name == "/front/image_raw"]
            assert (info.qos_profile.reliability == qos.profile(1, reliable=reliable).reliability) is True
            if reliable:  # which a best-effort publisher cannot serve
                bench.until(lambda bench=bench: bench.told, "that they do not match")
                assert "cannot match" in bench.told[0]
                assert bench.told[0].endswith("parameter qos: auto follows the publishers")
            else:
                bench.until(offered.get_subscription_count, "the match")


def test_a_mounting_that_changes_is_taken_over() -> None:
    lens = CameraModel(160, 120, K)
    with input_bench() as bench:
        listener = TransformListener(bench.listener, bench.tree, bench.told.append)
        images = bench.publisher(Image, "/front/image_raw")
        infos = bench.publisher(CameraInfo, "/front/camera_info", latched=True)
        static = bench.publisher(TFMessage, "/tf_static", latched=True)
        infos.publish(camera_info(lens))
        bench.until(lambda: "front" in bench.inputs.models() and images.get_subscription_count(), "the camera")
        fingerprints = []
        for number, x in enumerate((1.0, 1.0, 1.2)):
            static.publish(TFMessage(transforms=[mounting(x)]))
            images.publish(raw_image((1000 + 100 * number) * MS, scene(lens.pixel_rays())))
            bench.until(lambda number=number: len(bench.sets) > number, "a set")
            bench.until(lambda x=x: abs(place_of_mounting(bench) - x) < 1e-9, "the mounting")
            fingerprints.append(sample_of(bench).rig.fingerprint())
        listener.close()
    # Cached geometry goes by this.
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_an_image_of_another_size_is_left_out_until_its_calibration_follows() -> None:
    small, large = CameraModel(160, 120, K), CameraModel(160, 120, K).resized(320, 240)
    with input_bench() as bench:
        images, infos = {}, {}
        for name in ("front", "left"):
            images[name] = bench.publisher(Image, f"/{name}/image_raw")
            infos[name] = bench.publisher(CameraInfo, f"/{name}/camera_info", latched=True)
            infos[name].publish(camera_info(small))
            bench.tree.set_static("base_link", f"{name}_optical", pose_from_rpy((1, 0, 1.5), 0, 0, 0))
        bench.until(lambda: len(bench.inputs.models()) == 2, "both calibrations")
        bench.until(lambda: all(p.get_subscription_count() for p in images.values()), "subscriptions")

        def network_input(number: int) -> Any:
            for name, camera in (("front", small), ("left", large)):
                message = raw_image((1000 + 100 * number) * MS, scene(camera.pixel_rays()))
                message.header.frame_id = f"{name}_optical"
                images[name].publish(message)
            bench.until(lambda: len(bench.sets) > number, "a set")
            return preprocess(sample_of(bench), (80, 60))

        before = network_input(0)
        assert before.rig.names == ("front",)
        assert before.failed == {"left": "camera 'left': the image is 320x240, but its calibration is for 160x120"}
        infos["left"].publish(camera_info(large))
        bench.until(lambda: bench.inputs.models()["left"].width == 320, "the calibration")
        after = network_input(1)
        assert after.rig.names == ("front", "left")
        assert not after.failed
        np.testing.assert_allclose(after.rig.cameras[0].matrix, after.rig.cameras[1].matrix)


def mounting(x: float) -> TransformStamped:
    pose = pose_from_rpy((x, 0, 1.5), 0, 0, 0) @ body_from_optical()
    out = TransformStamped(child_frame_id="front_optical")
    out.header.frame_id = "base_link"
    out.transform.translation.x, out.transform.translation.y, out.transform.translation.z = map(float, pose[:3, 3])
    turn = out.transform.rotation
    turn.x, turn.y, turn.z, turn.w = map(float, matrix_to_quaternion(pose[:3, :3]))
    return out


def place_of_mounting(bench: InputBench) -> float:
    """How far ahead the camera of the newest sample is mounted, metres; NaN while it has no pose."""
    sample = sample_of(bench)
    return float(sample.rig.base_from_camera[0][0, 3]) if sample.frames else float("nan")
