# SPDX-License-Identifier: Apache-2.0
"""Scores. ``town`` judges by the exact truth of synthetic drives; the others are the benchmarks' own, to the figure.

``occ3d`` mIoU and IoU of Occ3D-nuScenes, ``rayiou`` SparseOcc's RayIoU, ``semantickitti`` scene completion, ``depth``
depth of seen and of novel views. Beneath them: ``confusion`` class counts, ``trim`` voxels that SelfOcc empties before
it scores, ``raycast`` rays through voxels, ``published_classes`` what classes published networks tell apart, ``sums``
accumulators that add up and go to files.
"""
