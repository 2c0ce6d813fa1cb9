"""The training engine: batches, one step, and the loop around it."""
