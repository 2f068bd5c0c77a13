# SPDX-License-Identifier: Apache-2.0
"""Self-distillation: labels for voxels out of a network's own volumes along a drive."""
