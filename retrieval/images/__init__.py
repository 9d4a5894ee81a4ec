"""From the bytes of any image to `u8[h, w, c]`, the same way for every command.

The only package that uses Pillow: `decode` is the pipeline, `draw` makes pictures for people. This module
itself stays light, so that asking for SUFFIXES costs nothing.
"""

import importlib.util

MAX_BYTES = 256 * 2**20
"""Size of the largest file that is looked at."""

_HEIF = (".heic", ".heif", ".hif") if importlib.util.find_spec("pillow_heif") else ()

SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
        *_HEIF,
    )
)
"""Lower-case file suffixes taken for images; HEIF's only when the extra `heif` is installed."""
