# SPDX-License-Identifier: Apache-2.0
"""Towns on a GPU; needs nothing but torch, numpy and pytest."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import body_from_optical, pose_from_rpy
from selfocc_ros.town.town import Town


def test_coarse_matrix_products_change_nothing() -> None:
    """A trainer may allow TF32 or autocast around rendering; rays must stay exact."""
    camera = CameraModel(96, 54, np.array([[70.0, 0, 47.5], [0, 70.0, 26.5], [0, 0, 1]]))
    town = Town(29, seconds=5.0)
    pose = town.drive.odom_from_base(2.0) @ pose_from_rpy((1.3, 0.0, 1.55), 0.0, 0.0, 0.4) @ body_from_optical()
    plain = town.render(camera, pose, 2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coarse = town.render(camera, pose, 2.0)
    np.testing.assert_array_equal(plain.depth, coarse.depth)
    np.testing.assert_array_equal(plain.image, coarse.image)


@pytest.mark.gpu
@pytest.mark.parametrize("seed", [26, 27, 28])
def test_gpu_renders_what_the_cpu_renders(seed: int) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    camera = CameraModel(384, 216, np.array([[274.0, 0, 191.5], [0, 274.0, 107.5], [0, 0, 1]]))
    mount = pose_from_rpy((1.3, 0.0, 1.55), 0.0, 0.0, 0.4) @ body_from_optical()
    towns = Town(seed, "cpu", 12.0), Town(seed, "cuda", 12.0)
    cpu, gpu = (town.render(camera, town.drive.odom_from_base(4.0) @ mount, 4.0) for town in towns)
    same = np.isclose(cpu.depth, gpu.depth, rtol=1e-3) | (np.isinf(cpu.depth) & np.isinf(gpu.depth))
    assert same.mean() > 0.998
    assert (cpu.classes == gpu.classes).mean() > 0.998
    # A texel or a brick may change sides where rounding differs.
    assert (np.abs(cpu.image.astype(int) - gpu.image.astype(int)).max(-1) <= 8).mean() > 0.99


def test_rendering_needs_neither_opencv_nor_scipy_nor_yaml() -> None:
    """Training on the fly must work on a machine that has torch and little else."""
    program = (
        "import sys\n"
        "for name in ('cv2', 'scipy', 'yaml', 'rosbags', 'rclpy'): sys.modules[name] = None\n"
        "import numpy as np\n"
        "from selfocc_ros.geometry.cameras import CameraModel\n"
        "from selfocc_ros.town.town import Town\n"
        "camera = CameraModel(32, 18, np.array([[25.0, 0, 15.5], [0, 25.0, 8.5], [0, 0, 1]]))\n"
        "pose = np.eye(4); pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]; pose[2, 3] = 1.5\n"
        "view = Town(1, seconds=5.0).render(camera, pose, 0.0)\n"
        "assert view.image.std() > 5\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
