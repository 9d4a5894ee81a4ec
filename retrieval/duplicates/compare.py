"""Whether two pictures are the same but for compression, a new size, a shift of a pixel, or light.

Two pictures of one kind may have nearer codes than two copies of one picture: the code is meant to overlook such things
as a pen's tilt. So pixels decide: after the best shift, and brightness and contrast made equal, a copy differs a little
everywhere, another picture a lot somewhere (docs/decisions/0012).
"""

import numpy as np
from jaxtyping import Float32, UInt8

SHIFT = 1
"""Pixels by which one may be moved against the other, each way."""
DIFFERENT = 0.5
"""Largest difference at any place, as a share of the picture's contrast, that copies show."""
LIGHT = 4.0
"""Times by which the contrast of one may be that of the other: a blank page is no copy, and neither is a negative."""
FLAT = 2.0
"""Contrast (standard deviation, of 255) below which a picture is taken for blank."""
SHADE = 16.0
"""Levels, of 255, by which two blank pages may differ: a black one is no copy of a white one."""


def measure_difference(a: UInt8[np.ndarray, "n h w c"], b: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, " n"]:
    """How different each pair is where it differs most, in units of the first one's contrast; 0 for the same picture.

    a, b: blurred, in [0, 255].
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


def subtract_mean(pictures: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n p"]:
    """Pixels without each channel's mean."""
    wide = pictures.astype(np.float32)
    wide -= wide.mean(axis=(1, 2), keepdims=True)
    return wide.reshape(len(wide), -1)


def blur(pictures: UInt8[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "n h w c"]:
    """Smoothed by (1, 2, 1) / 4 along both axes: what is left of a resizing's or a compression's traces is little."""
    wide = pictures.astype(np.float32)
    for axis in (1, 2):
        pad = [(1, 1) if each == axis else (0, 0) for each in range(4)]
        padded = np.pad(wide, pad, mode="edge")
        parts = [padded.take(range(start, start + wide.shape[axis]), axis) for start in range(3)]
        wide = np.asarray((parts[0] + 2 * parts[1] + parts[2]) / 4, np.float32)
    return np.rint(wide).astype(np.uint8)
