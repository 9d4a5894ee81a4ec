"""Find the pictures that look like a given picture, in collections nobody has labelled."""

__version__ = "0.1.0"
