# SPDX-License-Identifier: Apache-2.0
"""Hot kernels: one readable torch reference and one fast implementation each, behind one function."""
