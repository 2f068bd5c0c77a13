# SPDX-License-Identifier: Apache-2.0
"""Scenes of nuScenes into recordings, one folder each; can be stopped at any time and started again.

A scene's folder is `<out>/<scene>/` with `bag/`, `truth/` where there are labels, and `nuscenes.json`, which is written
last: a folder with it holds a whole scene and is not written again, unless something else is asked for than before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from selfocc_ros.logs.nuscenes.occ3d import label_files, write_truth
from selfocc_ros.logs.nuscenes.recording import Written, captures_of, require_files, write_recording
from selfocc_ros.logs.nuscenes.scenes import Scene, SceneEntry, choose_scenes, load_scenes
from selfocc_ros.logs.nuscenes.tables import NuScenesError, Tables
from selfocc_ros.logs.records import BagError
from selfocc_ros.logs.whole import write_whole

DONE = "nuscenes.json"

Tell = Callable[[str, int, int], None]
"""Called with a scene's name, its captures so far and in all."""


@dataclass(frozen=True)
class Wish:
    """What recordings are to hold.

    Attributes:
        lidar: clouds, too.
        keyframes_only: no sweeps: 2 images of a camera a second instead of 12.
        occ3d: folder of Occ3D's labels, for truth beside the recordings.
    """

    lidar: bool = True
    keyframes_only: bool = False
    occ3d: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """One scene of `convert`.

    Attributes:
        name: of the scene.
        bag: its recording.
        written: what is in it; None where it failed.
        labels: grids of truth beside it.
        before: whether it was finished already.
        problem: why there is no recording, or None.
    """

    name: str
    bag: Path
    written: Written | None = None
    labels: int = 0
    before: bool = False
    problem: str | None = None


@dataclass
class _Done:
    """The content of `nuscenes.json`."""

    version: str
    scene: str
    token: str
    description: str
    lidar: bool
    keyframes_only: bool
    written: dict[str, Any] = field(default_factory=dict)
    labels: int = 0

    def fits(self, entry: SceneEntry, wish: Wish) -> bool:
        """Whether the recording is the one that is asked for."""
        asked = (entry.token, wish.lidar, wish.keyframes_only)
        return (self.token, self.lidar, self.keyframes_only) == asked


def convert(
    dataroot: Path, version: str | None, wanted: Sequence[str], out: Path, wish: Wish, tell: Tell | None = None
) -> Iterator[Outcome]:
    """Write the recordings of scenes, each as soon as it is asked for.

    A scene whose files are not all there or are damaged becomes an outcome with a `problem`, and the others go on.

    Args:
        dataroot: folder of nuScenes.
        version: such as v1.0-mini; None is the only one that there is.
        wanted: names or tokens of scenes, or `all`.
        out: folder to make.
        wish: what is to be in them.
        tell: told of progress.

    Raises:
        NuScenesError: no such version or scene, or damaged tables.
        BagError: a recording cannot be written.
    """
    tables = Tables(dataroot, version)
    entries = choose_scenes(tables, wanted)
    open_entries = []
    for entry in entries:
        done = _load(out / entry.name)
        if done is not None and done.fits(entry, wish) and (done.labels or wish.occ3d is None):
            yield Outcome(entry.name, out / entry.name / "bag", Written(**done.written), done.labels, before=True)
        else:
            open_entries.append(entry)
    for scene in load_scenes(tables, open_entries):
        folder = out / scene.entry.name
        try:
            yield _convert_scene(scene, tables, folder, wish, tell)
        except NuScenesError as error:
            yield Outcome(scene.entry.name, folder / "bag", problem=str(error))
        except OSError as error:
            raise BagError(f"{folder} cannot be written ({error.strerror or error})") from error


def _convert_scene(scene: Scene, tables: Tables, folder: Path, wish: Wish, tell: Tell | None) -> Outcome:
    entry = scene.entry
    files = label_files(scene, wish.occ3d) if wish.occ3d is not None else {}
    done = _load(folder)
    labels = 0
    if done is None or not done.fits(entry, wish):
        captures = captures_of(scene, wish.lidar, wish.keyframes_only)
        require_files(scene, captures, tables.dataroot)
        (folder / DONE).unlink(missing_ok=True)
        # Labels first: where one of them is damaged, there is no recording that seems to be finished.
        labels = write_truth(files, folder / "truth") if files else 0
        progress = (lambda count, total: tell(entry.name, count, total)) if tell is not None else None
        written = write_recording(scene, captures, tables.dataroot, folder / "bag", progress)
        done = _Done(
            tables.version, entry.name, entry.token, entry.description, wish.lidar, wish.keyframes_only, asdict(written)
        )
    elif files:
        labels = write_truth(files, folder / "truth")
    done.labels = labels or done.labels
    write_whole(folder / DONE, json.dumps(asdict(done), indent=1) + "\n")
    return Outcome(entry.name, folder / "bag", Written(**done.written), done.labels)


def _load(folder: Path) -> _Done | None:
    """What is known of a finished folder; None where it is not finished, or its recording has gone."""
    if not (folder / "bag" / "metadata.yaml").is_file():
        return None
    try:
        done = _Done(**json.loads((folder / DONE).read_text(encoding="utf-8")))
        Written(**done.written)
    except (OSError, ValueError, TypeError):
        return None
    return done
