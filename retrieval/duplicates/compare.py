"""Decide by their pixels whether two images are the same except for compression, size, a shift by a pixel, or light.

Embeddings cannot decide this: they are trained to ignore differences such as a pen's tilt, so two similar images may be
nearer than two copies of one. Pixels can: after aligning them and equalising brightness and contrast, a copy differs a
little everywhere, another image a lot somewhere (docs/decisions/0012).
"""

import numpy as np

from retrieval.schema.arrays import Float32, UInt8

SHIFT = 1
"""Maximum shift between the two, in pixels, in each direction."""
DIFFERENT = 0.5
"""Maximum difference of a pixel between copies, as a multiple of the image's contrast."""
LIGHT = 4.0
"""Maximum ratio of the contrasts; blank images and negatives are not copies."""
FLAT = 2.0
"""Contrast (standard deviation of pixels in [0, 255]) below which an image is blank."""
SHADE = 16.0
"""Maximum difference of the brightness, in [0, 255], of two blank images that are copies."""


def measure_difference(a: UInt8[np.ndarray, "n h w c"], b: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, " n"]:
    """The largest difference of a pixel in each pair, in units of the first image's contrast; 0 for the same image.

    a, b: blurred, in [0, 255]
    """
    n, h, w = a.shape[:3]
    inner = slice(SHIFT, h - SHIFT), slice(SHIFT, w - SHIFT)
    ours = subtract_mean(a[:, inner[0], inner[1]])
    best = np.full(n, np.inf, np.float32)
    size = (h - 2 * SHIFT, w - 2 * SHIFT)
    left = np.empty_like(ours)
    for dy in range(2 * SHIFT + 1):
        for dx in range(2 * SHIFT + 1):
            theirs = subtract_mean(b[:, dy : dy + size[0], dx : dx + size[1]])
            gain = np.einsum("np,np->n", ours, theirs) / np.maximum(np.einsum("np,np->n", theirs, theirs), 1e-6)
            gain = np.clip(gain, 1 / LIGHT, LIGHT)
            rest = ours - gain[:, None] * theirs
            error = np.einsum("np,np->n", rest, rest)
            better = error < best
            best[better] = error[better]
            left[better] = rest[better]
    contrast = ours.std(axis=1)
    found = np.abs(left).max(axis=1) / np.maximum(contrast, FLAT)
    light = np.abs(a.mean(axis=(1, 2), dtype=np.float32) - b.mean(axis=(1, 2), dtype=np.float32)).max(axis=1)
    return np.asarray(np.maximum(found, np.where(contrast < FLAT, DIFFERENT * light / SHADE, 0)), np.float32)


def subtract_mean(images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n p"]:
    """Flat pixels, with each channel's mean subtracted."""
    wide = images.astype(np.float32)
    wide -= wide.mean(axis=(1, 2), keepdims=True)
    return wide.reshape(len(wide), -1)


def blur(images: UInt8[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "n h w c"]:
    """Smooth by (1, 2, 1) / 4 along both axes, which removes most traces of resizing and compression."""
    wide = images.astype(np.float32)
    for axis in (1, 2):
        pad = [(1, 1) if each == axis else (0, 0) for each in range(4)]
        padded = np.pad(wide, pad, mode="edge")
        parts = [padded.take(range(start, start + wide.shape[axis]), axis) for start in range(3)]
        wide = np.asarray((parts[0] + 2 * parts[1] + parts[2]) / 4, np.float32)
    return np.rint(wide).astype(np.uint8)
