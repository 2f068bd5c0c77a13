# SPDX-License-Identifier: Apache-2.0
"""nuScenes in its own format: JSON tables, images and clouds, and Occ3D's labels beside them, into recordings."""
