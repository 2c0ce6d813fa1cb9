"""From files to batches: sources, splits, decoding, loading."""
