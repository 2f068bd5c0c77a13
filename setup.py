# SPDX-License-Identifier: Apache-2.0
"""All metadata of the package; pip, colcon and the Makefile read it here and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

NAME = "selfocc_ros"
ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "([^"]+)"', (ROOT / NAME / "__init__.py").read_text(encoding="utf-8")).group(1)


def data_files() -> list[tuple[str, list[str]]]:
    """Returns what goes below share/: the ament marker, package.xml and every file of launch/, config/ and rviz/.

    Paths are relative to this file, as colcon and setuptools both want them.
    """
    files = {
        "share/ament_index/resource_index/packages": [f"resource/{NAME}"],
        f"share/{NAME}": ["package.xml"],
    }
    for folder in ("launch", "config", "rviz"):
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                files.setdefault(f"share/{NAME}/{path.parent.as_posix()}", []).append(path.as_posix())
    return sorted(files.items())


setup(
    name=NAME,
    version=VERSION,
    description="Camera-only 3D occupancy for ROS 2, learnt without labels",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="selfocc_ros maintainers",
    maintainer_email="selfocc_ros@users.noreply.github.com",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]) + find_packages("training"),
    package_dir={"selfocc_training": "training/selfocc_training"},
    package_data={NAME: ["py.typed"], "selfocc_training": ["py.typed"]},
    data_files=data_files(),
    zip_safe=False,
    # Why each of these is here: CONTRIBUTING.md, "Dependencies".
    install_requires=[
        "torch>=2.4",
        "numpy>=1.24,<3",
        "pyyaml>=6",
        "safetensors>=0.4",
        "transformers>=4.45",
        "opencv-python-headless>=4.8,<5",
        "rosbags>=0.10,<0.12",
    ],
    extras_require={
        # ROS 2 Kilted from PyPI, for machines without an installed ROS: one release, since its parts belong together.
        "ros": [
            "ros-rclpy[fastrtps]~=9.1",
            "ros-diagnostic-msgs~=5.5",
            "ros-geometry-msgs~=5.5",
            "ros-lifecycle-msgs~=2.3",
            "ros-nav-msgs~=5.5",
            "ros-sensor-msgs~=5.5",
            "ros-std-msgs~=5.5",
            "ros-std-srvs~=5.5",
            "ros-visualization-msgs~=5.5",
        ],
        # The release before it, in which the node's tests run too: `make test-jazzy`.
        "ros-jazzy": [
            "ros-rclpy[fastrtps]~=7.1",
            "ros-diagnostic-msgs~=5.3.0",
            "ros-geometry-msgs~=5.3.0",
            "ros-lifecycle-msgs~=2.0.0",
            "ros-nav-msgs~=5.3.0",
            "ros-sensor-msgs~=5.3.0",
            "ros-std-msgs~=5.3.0",
            "ros-std-srvs~=5.3.0",
            "ros-visualization-msgs~=5.3.0",
        ],
        "test": ["hypothesis>=6.80", "pytest>=8"],
        "train": ["lightning>=2.4", "pyarrow>=14", "tensorboard>=2.14"],
        "dev": [
            "colcon-bash",
            "colcon-core",
            "colcon-ros",
            "hypothesis>=6.80",
            "lightning>=2.4",
            "mypy>=1.11",
            "pyarrow>=14",
            "pytest>=8",
            "ruff>=0.9",
            "scipy>=1.11",
            "setuptools>=68",
            "tensorboard>=2.14",
            "triton>=3.1; platform_machine == 'x86_64'",
            "types-PyYAML",
        ],
    },
    entry_points={
        "console_scripts": [
            "selfocc = selfocc_ros.cli:main",
            "occupancy_node = selfocc_ros.ros.occupancy_node:main",
            "bag_player = selfocc_ros.ros.bag_player:main",
        ],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
