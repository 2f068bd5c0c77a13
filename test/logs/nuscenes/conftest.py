# SPDX-License-Identifier: Apache-2.0
"""A miniature of nuScenes, and its recording."""

from __future__ import annotations

from pathlib import Path

import pytest
from nuscenes_miniature import SCENE, write_miniature

from selfocc_ros.logs.nuscenes.convert import Wish, convert


@pytest.fixture(scope="session")
def occ3d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the labels of `dataroot` are."""
    return tmp_path_factory.mktemp("occ3d")


@pytest.fixture(scope="session")
def dataroot(tmp_path_factory: pytest.TempPathFactory, occ3d: Path) -> Path:
    """One scene of two seconds; not to be changed."""
    return write_miniature(tmp_path_factory.mktemp("nuscenes"), occ3d=occ3d)


@pytest.fixture(scope="session")
def folder(dataroot: Path, occ3d: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `dataroot` becomes: bag/, truth/, nuscenes.json; not to be changed."""
    out = tmp_path_factory.mktemp("bags")
    outcomes = list(convert(dataroot, None, [SCENE], out, Wish(occ3d=occ3d)))
    assert [outcome.problem for outcome in outcomes] == [None]
    return out / SCENE
