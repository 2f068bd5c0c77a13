# SPDX-License-Identifier: Apache-2.0
"""Pictures of what was seen and what was understood, drawn with OpenCV alone."""
