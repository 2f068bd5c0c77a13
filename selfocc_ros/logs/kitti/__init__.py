# SPDX-License-Identifier: Apache-2.0
"""KITTI's odometry sequences and raw drives (Geiger et al. 2013), and SemanticKITTI's voxels, into recordings."""
