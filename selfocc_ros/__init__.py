# SPDX-License-Identifier: Apache-2.0
"""Camera-only 3D occupancy for ROS 2, learnt without labels."""

__version__ = "0.1.0"
