# SPDX-License-Identifier: Apache-2.0
"""The published SelfOcc: learned queries on planes through the volume, lifted by deformable attention."""
