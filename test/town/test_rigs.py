# SPDX-License-Identifier: Apache-2.0
"""Rig files and random rigs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfocc_ros.configuration import ConfigError
from selfocc_ros.town.rigs import RigSpec, load_rig, random_rig


@pytest.mark.parametrize(("name", "count"), [("surround6", 6), ("surround5", 5), ("front1", 1)])
def test_shipped_rigs_load(name: str, count: int) -> None:
    spec = load_rig(name)
    rig = spec.rig()
    assert len(rig) == count
    assert rig.names == spec.names
    assert next(iter(spec.offsets_s.values())) == 0.0
    assert all(abs(offset) <= 0.04 for offset in spec.offsets_s.values())
    for camera, (_, described) in zip(rig.cameras, spec.cameras, strict=True):
        width, height = camera.width, camera.height
        left, right = camera.undistorted().unproject(
            np.array([[-0.5, (height - 1) / 2], [width - 0.5, (height - 1) / 2]])
        )
        assert np.degrees(np.arccos(left @ right)) == pytest.approx(described.hfov, abs=1e-6)


def test_cameras_look_where_the_file_says() -> None:
    rig = load_rig("surround6").rig()
    looking = rig.base_from_camera[:, :3, 2]
    np.testing.assert_allclose(looking[rig.names.index("front")], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(looking[rig.names.index("back")], [-1, 0, 0], atol=1e-12)
    assert looking[rig.names.index("front_left"), 1] > 0.5
    assert looking[rig.names.index("back_right"), 1] < -0.5
    np.testing.assert_allclose(rig.base_from_camera[:, 2, 1], -1.0, atol=1e-9)  # image y points down
    assert load_rig("front1").rig().base_from_camera[0, 2, 2] < 0.0  # positive pitch looks down


def test_a_bent_lens_is_part_of_the_unseen_rig() -> None:
    cameras = load_rig("surround5").rig().cameras
    assert cameras[0].model == "plumb_bob"
    assert cameras[0].is_distorted


def test_scaled_rigs_keep_their_view() -> None:
    full, small = load_rig("surround5").rig(), load_rig("surround5").rig(200)
    for a, b in zip(full.cameras, small.cameras, strict=True):
        assert b.width == 200
        corner_a = a.unproject(np.array([-0.5, -0.5]))
        corner_b = b.unproject(np.array([-0.5, -0.5]))
        np.testing.assert_allclose(corner_a[0], corner_b[0], atol=2e-3)


def test_jitter_is_small_repeatable_and_different_for_each_seed() -> None:
    spec = load_rig("surround6")
    a, again, b = spec.jittered(1), spec.jittered(1), spec.jittered(2)
    assert a == again
    assert a != b
    for (_, plain), (_, moved) in zip(spec.cameras, a.cameras, strict=True):
        assert 0.0 < np.abs(np.subtract(plain.position, moved.position)).max() <= 0.03
        assert 0.0 < abs(plain.yaw - moved.yaw) <= 1.0
        assert abs(plain.offset - moved.offset) <= 0.004
    assert a.offsets_s["front"] == 0.0


def test_random_rigs_stay_within_what_training_promises() -> None:
    counts, fields = set(), []
    for seed in range(60):
        spec = random_rig(np.random.default_rng(seed))
        assert spec == random_rig(np.random.default_rng(seed))
        counts.add(len(spec.cameras))
        for _, camera in spec.cameras:
            assert 1.2 <= camera.position[2] <= 2.2
            assert 50.0 <= camera.hfov <= 120.0
            assert abs(camera.pitch) <= 5.0
            assert abs(camera.offset) <= 0.04
            fields.append(camera.hfov)
    assert counts == {4, 5, 6, 7}
    assert min(fields) < 55.0
    assert max(fields) > 115.0


def test_dictionaries_round_trip() -> None:
    spec = random_rig(np.random.default_rng(5))
    assert RigSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cameras: {a: {width: 64, height: 48, hfov: 70.0, position: [0, 0, 1], yawn: 3.0}}", "did you mean 'yaw'"),
        ("camera: {a: {}}", "did you mean 'cameras'"),
        ("cameras: {a: {width: 64, height: 48, position: [0, 0, 1]}}", "'hfov' is missing"),
        ("cameras: {a: {width: 64, height: 48, hfov: 190.0, position: [0, 0, 1]}}", "hfov must be"),
        ("cameras: {a: {width: 64, height: 48, hfov: 70.0, position: [0, 0]}}", "position must be a list of 3"),
        ("cameras: {}", "'cameras' must map"),
        ("cameras: {a: 3}", "must be a mapping"),
    ],
)
def test_wrong_rig_files_get_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=sentence) as error:
        load_rig(path)
    assert "mine.yaml" in str(error.value)


def test_unknown_rig_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="surround6"):
        load_rig("surround7")
