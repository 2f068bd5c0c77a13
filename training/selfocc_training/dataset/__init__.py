# SPDX-License-Identifier: Apache-2.0
"""Recordings as a training dataset on disk: image files, one Parquet index, and a report of what was found."""
