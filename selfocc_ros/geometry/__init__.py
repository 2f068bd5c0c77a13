# SPDX-License-Identifier: Apache-2.0
"""Cameras, rigs, poses, transforms over time and voxel grids. Knows neither ROS nor images; numpy only."""
