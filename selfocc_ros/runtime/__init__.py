# SPDX-License-Identifier: Apache-2.0
"""From a RigSample to an OccupancyVolume: the one path that node, replay, evaluation and bench share."""
