# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation of SelfOcc networks; never imports ``selfocc_ros.ros``."""
