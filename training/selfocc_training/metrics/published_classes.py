# SPDX-License-Identifier: Apache-2.0
"""From the classes that SelfOcc's published networks tell apart to those of the benchmarks; 0 means empty."""

from __future__ import annotations

import numpy as np

OCC3D_OF_OPENSEED = np.array([1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 9, 10, 11, 12, 13, 14, 14, 15, 15, 16, 0], np.uint8)
"""Occ3D's class of each of the 21 prompts that OpenSeeD labelled nuScenes images with; the last is sky."""

SEMANTICKITTI_OF_CITYSCAPES = np.array([9, 11, 13, 13, 14, 18, 19, 19, 15, 17, 0, 6, 7, 1, 4, 5, 5, 3, 2], np.uint8)
"""SemanticKITTI's class (1 car .. 19 traffic sign) of each of Cityscapes' 19."""
