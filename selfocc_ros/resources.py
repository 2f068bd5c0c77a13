# SPDX-License-Identifier: Apache-2.0
"""Finds the files that come with the package: config, checkpoints, launch files and the RViz layout.

They lie in four different places. In a checkout (`PYTHONPATH=.:training`, `pip install -e .`, `colcon build
--symlink-install`) they are beside the package; `pip install .` puts them below `<prefix>/share/selfocc_ros`, where
the prefix is a virtual environment, `~/.local` or the folder given to `--target`; colcon below
`install/selfocc_ros/share/selfocc_ros`. Each of the installed places is `share/selfocc_ros` in some folder above the
package, so walking up finds it without asking pip or ament.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from selfocc_ros.errors import SelfOccError

NAME = "selfocc_ros"
PACKAGE = Path(__file__).parent

# <prefix>/local/lib/python3.x/dist-packages/selfocc_ros is the deepest that an installer puts the package.
_LEVELS = 5


class ResourceError(SelfOccError, FileNotFoundError):
    """A file that should have come with the package is not there."""


def roots() -> list[Path]:
    """Returns the folders that hold the package's files, the checkout first; usually there is exactly one."""
    checkout = PACKAGE.resolve().parent
    found = [checkout] if (checkout / "package.xml").is_file() else []
    for folder in list(PACKAGE.absolute().parents)[:_LEVELS]:
        share = folder / "share" / NAME
        if (share / "package.xml").is_file():
            found.append(share)
    return found


def resource(relative: str) -> Path:
    """Returns the absolute path of a file or folder of the package.

    Args:
        relative: path below the repository's root with forward slashes, such as `config/rigs/surround6.yaml`.

    Raises:
        ResourceError: there is no such file, or the path leaves the package's folder.
    """
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts:
        raise ResourceError(f"resource '{relative}' must be a path inside the package, such as 'rviz/occ.rviz'")
    looked_in = roots()
    for root in looked_in:
        if (root / path).exists():
            return root / path
    places = ", ".join(str(root) for root in looked_in) or f"a folder share/{NAME} above {PACKAGE}"
    raise ResourceError(f"resource '{relative}' is missing: looked in {places}; install the package again")
