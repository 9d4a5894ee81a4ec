"""Smaller copies of many images at once, by the mean of blocks of pixels."""

import numpy as np

from retrieval.schema.arrays import UInt8


def block_means(images: UInt8[np.ndarray, "n h w c"], factor: int) -> UInt8[np.ndarray, "n hh ww c"]:
    """Each block of factor × factor pixels as one; rows and columns that fill no block are left out.

    >>> block_means(np.array([[[[1], [3]], [[3], [5]]]], np.uint8), 2).tolist()
    [[[[3]]]]
    """
    if factor == 1:
        return images
    height, width = (side // factor * factor for side in images.shape[1:3])
    n, c = images.shape[0], images.shape[3]
    blocks = images[:, :height, :width].reshape(n, height // factor, factor, width // factor, factor, c)
    means: np.ndarray = np.rint(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)
    return means
