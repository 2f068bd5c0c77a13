# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 side: node, messages, transforms, diagnostics, bag player. The only folder that imports rclpy."""

import os

# torch's threads wait for each other in a spin by default; beside a player, drivers or RViz they then burn the time
# that the others need to let them go on. On two cores with a player: 1.1 Hz spinning, 3.4 Hz passive. Read when
# libgomp is loaded, hence before torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
