"""What stands before every route: the key, limits of a body, headers."""
