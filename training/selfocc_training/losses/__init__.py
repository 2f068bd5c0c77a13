# SPDX-License-Identifier: Apache-2.0
"""Every loss of SelfOcc (Huang et al. 2024), on plain tensors, for any model.

``mvs`` reprojection, ``colour`` rendered colour, ``smoothness`` edge-aware depth, ``field_terms`` eikonal and Hessian,
``sparsity`` free space, ``semantic`` classes. Beneath them: ``lookup`` pixels of one image in another, ``masks`` what
not to look at (own bonnet, moving things), ``similarity`` SSIM on a grid of rays.

All losses are unweighted means. Values and gradients agree with recordings of the official implementation.
"""
