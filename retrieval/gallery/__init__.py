"""Galleries: search results with their images, as one self-contained HTML page or one PNG."""

from retrieval.gallery.page import write_html
from retrieval.gallery.rows import Row, Table, Tile
from retrieval.gallery.sheet import write_png

__all__ = ["Row", "Table", "Tile", "write_html", "write_png"]
