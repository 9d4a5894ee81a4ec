"""Near-duplicates over a whole collection: found through the engine, confirmed by looking, never deleted."""
