"""Pictures in one array: what training, evaluation and the gate's sample look at."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.schema.arrays import Int, UInt8
from retrieval.schema.image_shape import ImageShape
from retrieval.schema.records import Point
from retrieval.sources import Entry, Source
from retrieval.sources.read import Loaded, Refused, read_images
from retrieval.util.reporting import ReportCount, ignore

REPORT = 100
"""Images between two progress reports."""


@dataclass(frozen=True, slots=True)
class ImageArray:
    """The images that could be read, in order.

    images: u8 pixels in [0, 255]
    contents: SHA-256 of each image file
    rows: index of each image in the list that was to be read
    refused: the entries that could not be read
    """

    images: UInt8[np.ndarray, "n h w c"]
    entries: list[Entry]
    contents: list[str]
    rows: Int[np.ndarray, " n"]
    refused: list[Refused]


def read_image_array(
    entries: Sequence[Entry],
    shape: ImageShape,
    progress: ReportCount = ignore,
) -> ImageArray:
    """Read the entries as u8[n, height, width, channels]; unreadable ones go to `refused`."""
    images = np.empty((len(entries), *shape.array), np.uint8)
    kept: list[Entry] = []
    contents: list[str] = []
    rows: list[int] = []
    refused: list[Refused] = []
    for row, item in enumerate(read_images(entries, shape)):
        if isinstance(item, Loaded):
            images[len(rows)] = item.image.pixels
            kept.append(item.entry)
            contents.append(item.sha256)
            rows.append(row)
        else:
            refused.append(item)
        if (row + 1) % REPORT == 0 or row + 1 == len(entries):
            progress(row + 1, len(entries))
    return ImageArray(images[: len(rows)], kept, contents, np.array(rows, np.int64), refused)


def stored_entry(point: Point, source: Source) -> Entry:
    """The entry of a stored point's image."""
    path = str(point.payload["path"])
    return Entry(source.name, path, 0, 0, None, functools.partial(source.read, path))


def choose_rows(count: int, limit: int, seed: int = 0) -> Int[np.ndarray, " n"]:
    """Ascending row numbers below `count`: all of them, or `limit` chosen at random."""
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))
