"""Plain values that the rooms exchange: records, filters and their language, index settings."""
