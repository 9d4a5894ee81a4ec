"""Plain values that travel between the rooms: records, filters and how people write them, index settings."""
