# SPDX-License-Identifier: Apache-2.0
"""Every loss of SelfOcc (Huang et al. 2024) and of this project, one file each; ``objective`` puts them together.

``mvs`` reprojection as published, ``pairs`` ours, ``colour`` rendered colour, ``smoothness`` edge-aware depth,
``field_terms`` eikonal and Hessian, ``sparsity`` free space, ``semantic`` rendered classes, ``lovasz`` classes of
voxels. Beneath them: ``ray_grid`` rays, ``targets`` what is to be explained, ``lookup`` pixels of one image in another,
``similarity`` SSIM, ``masks`` what not to look at (own bonnet, moving things).

All losses are unweighted means. Values and gradients of SelfOcc's agree with recordings of its official implementation.
"""
