# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 side: node, messages, transforms, diagnostics, bag player. The only folder that imports rclpy."""
