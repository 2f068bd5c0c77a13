# SPDX-License-Identifier: Apache-2.0
"""Several scenes: stopping, going on, and what is wrong with the files told in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from nuscenes_miniature import SCENE, VERSION, write_miniature

from selfocc_ros.logs.nuscenes.convert import DONE, Outcome, Wish, convert
from selfocc_ros.logs.nuscenes.tables import NuScenesError

SCENES = ("scene-0061", "scene-0103")
SMALL = Wish(lidar=False, keyframes_only=True)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Half a second of two scenes, to be changed."""
    return write_miniature(tmp_path / "two", seconds=0.5, scenes=SCENES)


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def run(dataroot: Path, out: Path, *scenes: str, wish: Wish = SMALL) -> list[Outcome]:
    return list(convert(dataroot, None, scenes or ("all",), out, wish))


def change(dataroot: Path, table: str, old: str, new: str) -> None:
    path = dataroot / VERSION / f"{table}.json"
    path.write_text(path.read_text().replace(old, new, 1))


def test_scenes_are_chosen_by_name_and_token(two: Path, tmp_path: Path) -> None:
    token = json.loads((two / VERSION / "scene.json").read_text())[1]["token"]
    outcomes = run(two, tmp_path / "out", token, "scene-0061", "scene-0103")
    assert [outcome.name for outcome in outcomes] == ["scene-0103", "scene-0061"]


def test_sweeps_and_clouds_can_be_left_out(two: Path, tmp_path: Path) -> None:
    written = run(two, tmp_path / "few", SCENE)[0].written
    assert written is not None
    assert (written.images, written.clouds, written.poses) == (6, 0, 40)
    written = run(two, tmp_path / "all", SCENE, wish=Wish())[0].written
    assert written is not None
    assert (written.images, written.clouds, written.poses) == (30, 5, 40)


def test_resume_writes_only_what_is_not_finished(two: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begun = convert(two, None, ["all"], out, SMALL)
    next(begun)
    begun.close()  # stopped after the first scene, and then within the second
    (out / SCENES[1] / "bag").mkdir(parents=True)
    (out / SCENES[1] / "bag" / "bag.mcap").write_bytes(b"\x89MCAP0\r\n")
    before = files(out / SCENES[0])
    outcomes = run(two, out)
    assert [(outcome.name, outcome.before) for outcome in outcomes] == [(SCENES[0], True), (SCENES[1], False)]
    assert outcomes[0].written == outcomes[1].written
    assert files(out / SCENES[0]) == before
    assert all(outcome.before for outcome in run(two, out))


def test_resume_with_other_wishes_writes_again(two: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(two, out, SCENE)
    outcome = run(two, out, SCENE, wish=Wish())[0]
    assert not outcome.before
    assert outcome.written is not None
    assert outcome.written.clouds == 5


def test_resume_adds_labels_to_a_finished_scene(dataroot: Path, occ3d: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(dataroot, out, SCENE)
    before = files(out / SCENE / "bag")
    wish = Wish(lidar=False, keyframes_only=True, occ3d=occ3d / "gts")
    assert run(dataroot, out, SCENE, wish=wish)[0].labels == 4
    assert files(out / SCENE / "bag") == before
    assert run(dataroot, out, SCENE, wish=wish)[0].before


@pytest.mark.fault
def test_fault_missing_files_leave_out_one_scene(two: Path, tmp_path: Path) -> None:
    for channel in ("CAM_BACK", "CAM_FRONT"):
        min((two / "samples" / channel).iterdir()).unlink()
    first, second = run(two, tmp_path / "out")
    assert first.problem is not None
    assert first.problem.startswith(f"scene-0061: 2 of 6 files are missing below {two}, the first is samples/CAM_")
    assert not (tmp_path / "out" / "scene-0061").exists()
    assert second.problem is None


@pytest.mark.fault
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: (root / VERSION / "ego_pose.json").unlink(), r"ego_pose\.json is missing"),
        (lambda root: change(root, "ego_pose", '"timestamp"', '"time"'), "record 1 has no 'timestamp'"),
        (lambda root: change(root, "ego_pose", '"token": "', '"token": "x'), "lacks 1 poses that sample_data"),
        (lambda root: change(root, "ego_pose", '"translation": [', '"translation": [7,'), "are damaged: "),
        (lambda root: change(root, "calibrated_sensor", '"token": "', '"token": "x'), "calibrated_sensor.json lacks "),
        (lambda root: change(root, "sample_data", '"sample_token": "', '"sample_token": [], "a": "'), "wrong 'sample"),
        (lambda root: change(root, "sample", '"scene_token": "', '"scene_token": "x'), "scene-0061 has no captures"),
    ],
)  # fmt: skip
def test_fault_damaged_tables(spoil: Callable[[Path], None], sentence: str, two: Path, tmp_path: Path) -> None:
    spoil(two)
    with pytest.raises(NuScenesError, match=sentence):
        run(two, tmp_path / "out")


@pytest.mark.fault
@pytest.mark.parametrize(
    ("channel", "content", "sentence"),
    [("CAM_FRONT", b"GIF89a", "it is no JPEG image"), ("LIDAR_TOP", b"1234567", "7 bytes are no whole number")],
)
def test_fault_damaged_files(channel: str, content: bytes, sentence: str, two: Path, tmp_path: Path) -> None:
    next((two / "samples" / channel).iterdir()).write_bytes(content)
    problems = [outcome.problem for outcome in run(two, tmp_path / "out", wish=Wish())]
    assert sorted(problem is None for problem in problems) == [False, True]
    assert sentence in "".join(problem or "" for problem in problems)
    assert len(list((tmp_path / "out").glob(f"*/{DONE}"))) == 1


@pytest.mark.fault
def test_fault_a_scene_that_is_left_out_midway_leaves_no_recording(two: Path, tmp_path: Path) -> None:
    late = max((two / "samples" / "CAM_FRONT").iterdir())
    whole = late.read_bytes()
    late.write_bytes(b"GIF89a")
    out = tmp_path / "out"
    outcomes = run(two, out, wish=Wish())
    (left,) = (outcome for outcome in outcomes if outcome.problem is not None)
    assert not any((out / left.name).rglob("*"))

    def stop(_: str, done: int, __: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    late.write_bytes(whole)
    with pytest.raises(KeyboardInterrupt):
        list(convert(two, None, [left.name], out, Wish(), stop))
    assert not any((out / left.name).rglob("*"))
    # A process that was killed could not clear up.
    (out / left.name / "bag.part" / "bag").mkdir(parents=True)
    (out / left.name / "bag.part" / "bag" / "bag.mcap").write_bytes(b"\x89MCAP0\r\n")
    assert run(two, out, left.name, wish=Wish())[0].problem is None
    assert sorted(path.name for path in (out / left.name).iterdir()) == ["bag", DONE]


@pytest.mark.fault
def test_fault_labels_that_are_missing_or_damaged(dataroot: Path, occ3d: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    shutil.copytree(occ3d, labels)
    one = next(labels.rglob("labels.npz"))
    wish = Wish(lidar=False, keyframes_only=True, occ3d=labels)
    one.write_bytes(b"PK not a zip")
    assert f"{one} is damaged" in str(run(dataroot, tmp_path / "out", SCENE, wish=wish)[0].problem)
    assert not (tmp_path / "out" / SCENE / "bag").exists()
    one.unlink()
    problem = str(run(dataroot, tmp_path / "out", SCENE, wish=wish)[0].problem)
    assert problem == f"scene-0061: 1 of 4 label files of Occ3D are missing, the first is {one}"
