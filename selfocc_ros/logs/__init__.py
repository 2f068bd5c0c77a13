# SPDX-License-Identifier: Apache-2.0
"""Recorded drives in and out: bags of ROS 1 and ROS 2. The only folder that imports rosbags."""
