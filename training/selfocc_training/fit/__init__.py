# SPDX-License-Identifier: Apache-2.0
"""What a training loop needs beside the loss: processes, steps drawn ahead, saved state, stops, records, pictures."""
