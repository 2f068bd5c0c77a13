# SPDX-License-Identifier: Apache-2.0
"""SelfOcc networks: cameras in, signed distance field out. Knows neither ROS nor bags."""
