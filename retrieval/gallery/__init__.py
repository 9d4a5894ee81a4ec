"""Galleries: search results with their images, as one self-contained HTML page or one PNG."""
