"""Whether images are drawn (handwriting, scans, line art) or photographs.

A drawing is ink on paper: two shades fill it, and the ink has hardly any colour. A photograph has many shades. Clip art
and things on a white ground may have few, but they have colour.
"""

import numpy as np
from jaxtyping import Bool, UInt8

SHADES = 16
"""Number of bins into which the greys are counted."""
MIN_FLAT = 0.7
"""Smallest share of a drawing's pixels in its two fullest bins.

Measured, medians: 0.86 to 0.91 for MNIST, also inverted, as JPEG, enlarged, or on grey paper; 0.27 to 0.41 for four
collections of photographs (docs/decisions/0025).
"""
MAX_CHROMA = 0.15
"""Largest mean difference of the channels of a drawing's ink, which is all but the fullest bin; 1 is pure colour."""
SAMPLE = 500
"""Maximum number of images that are looked at."""


def is_drawn(images: UInt8[np.ndarray, "n h w c"]) -> bool:
    """Whether most of the images are drawn."""
    return drawn_share(images) > 0.5


def drawn_share(images: UInt8[np.ndarray, "n h w c"]) -> float:
    """The share of drawings among a sample of the images, in [0, 1]."""
    step = max(1, len(images) // SAMPLE)
    return float(find_drawings(images[::step][:SAMPLE]).mean())


def find_drawings(images: UInt8[np.ndarray, "n h w c"]) -> Bool[np.ndarray, " n"]:
    """Whether each image is drawn."""
    grey = images.mean(axis=-1, dtype=np.float32).astype(np.uint8) // (256 // SHADES)
    shares = np.stack([(grey == shade).mean(axis=(1, 2)) for shade in range(SHADES)], axis=1)
    flat = np.sort(shares, axis=1)[:, -2:].sum(axis=1)
    ink = grey != shares.argmax(axis=1)[:, None, None]
    chroma = ((images.max(axis=-1) - images.min(axis=-1)) * ink).sum(axis=(1, 2)) / np.maximum(ink.sum(axis=(1, 2)), 1)
    drawings: np.ndarray = (flat >= MIN_FLAT) & (chroma <= MAX_CHROMA * 255)
    return drawings
