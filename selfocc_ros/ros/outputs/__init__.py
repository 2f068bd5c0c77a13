# SPDX-License-Identifier: Apache-2.0
"""What the node publishes: pure functions from voxels to messages, a file per kind, and `Outputs` that calls them."""

from selfocc_ros.ros.outputs.outputs import Outputs

__all__ = ["Outputs"]
