# SPDX-License-Identifier: Apache-2.0
"""From camera messages to network input: frames, synchronisation, decoding. Knows neither rclpy nor rosbags."""
