# SPDX-License-Identifier: Apache-2.0
"""Scores of a checkpoint on prepared datasets, under the protocols of the benchmarks.

``run`` goes through the samples of a split and scores the network, flat ground and blindness by one of the scorers:
``voxels`` (Occ3D, RayIoU, SemanticKITTI), ``depth`` (seen and novel views), ``lidar`` (the recording's own). Beneath
them: ``choice`` which samples, ``classes`` whose names agree, ``grids`` predictions at the truth's voxels,
``flat_ground`` the baseline, ``clouds`` sweeps out of recordings, ``report`` the page that shows it all.
"""
