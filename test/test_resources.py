# SPDX-License-Identifier: Apache-2.0
"""resource(): what it finds in layouts that no test here can install, and what it says when it finds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfocc_ros import resources
from selfocc_ros.resources import ResourceError, resource


def lay(prefix: Path, packages: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes an installed layout below `prefix` in which resources believes to live; returns its share folder."""
    package = prefix / packages / "selfocc_ros"
    package.mkdir(parents=True)
    share = prefix / "share" / "selfocc_ros"
    share.mkdir(parents=True)
    (share / "package.xml").touch()
    monkeypatch.setattr(resources, "PACKAGE", package)
    return share


@pytest.mark.parametrize(
    "packages",
    [
        "lib/python3.12/site-packages",  # virtual environments, ~/.local, colcon
        "local/lib/python3.10/dist-packages",  # colcon on Ubuntu 22.04
        "lib/python3/dist-packages",  # Debian packages
        "",  # pip install --target
    ],
)
def test_installed_layouts(packages: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = lay(tmp_path, packages, monkeypatch)
    (share / "rviz").mkdir()
    (share / "rviz" / "occ.rviz").touch()
    assert resource("rviz/occ.rviz") == share / "rviz" / "occ.rviz"
    assert resource("rviz") == share / "rviz"


def test_a_missing_file_is_named_with_the_places_that_were_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = lay(tmp_path, "lib/python3.12/site-packages", monkeypatch)
    with pytest.raises(ResourceError, match=r"'config/none\.yaml' is missing") as caught:
        resource("config/none.yaml")
    assert str(share) in str(caught.value)


def test_a_package_without_its_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "PACKAGE", tmp_path / "zipped" / "selfocc_ros")
    with pytest.raises(ResourceError, match="install the package again"):
        resource("rviz/occ.rviz")


@pytest.mark.parametrize("outside", ["../setup.py", "/etc/passwd", "config/../../x"])
def test_paths_that_leave_the_package_are_refused(outside: str) -> None:
    with pytest.raises(ResourceError, match="inside the package"):
        resource(outside)


def test_the_checkout_comes_first(repository: Path) -> None:
    assert resource("package.xml") == repository / "package.xml"
