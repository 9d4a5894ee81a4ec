"""Images in, hits out: queries are encoded, or looked up, and sent to the engine in batches."""
