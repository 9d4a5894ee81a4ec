"""The distorted views that training would learn from, as one picture to look at before any time is spent."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from retrieval.errors import UsageError
from retrieval.images.decode import encode_png, thumbnail
from retrieval.images.draw import TILE, Cell, Line, contact_sheet
from retrieval.sources import Source
from retrieval.sources.read import Refused
from retrieval.train.augment import default_distortion, distorted_copies
from retrieval.train.data import read_training_images
from retrieval.train.options import TrainOptions
from retrieval.util.files import write_output
from retrieval.util.reporting import ReportCount, ignore

READ = 1000
"""Pictures read at most, a random part: enough to see which distortions suit them."""
ROWS, VIEWS = 8, 7


def preview(
    path: Path,
    sources: Sequence[Source],
    options: TrainOptions,
    reading: ReportCount = ignore,
) -> tuple[list[Refused], list[str]]:
    """Draw ROWS pictures, each beside VIEWS of its distorted views; returns what was refused, and warnings.

    Raises UsageError for the objective that learns from pictures as they are, SourceError when no image can be used,
    RetrievalError when the file cannot be written.
    """
    if options.objective == "reconstruction":
        raise UsageError(
            "the objective reconstruction learns from the images as they are, so there are no views to show",
            option="preview",
            hint="leave it out, or choose another objective",
        )
    pictures = read_training_images(sources, options, reading, most=READ)
    images = pictures.images[:: max(1, len(pictures.images) // ROWS)][:ROWS]
    how = default_distortion(pictures.images)
    views = distorted_copies(images.repeat(VIEWS, axis=0), options.seed, how).reshape(
        len(images), VIEWS, *images.shape[1:]
    )
    lines = [
        Line(
            Cell(tile(image), f"image {row + 1}", ""),
            [Cell(tile(view), f"view {number}", "") for number, view in enumerate(views[row], start=1)],
            "",
        )
        for row, image in enumerate(images)
    ]
    height, width = images.shape[1:3]
    notes = [f"Images at the model's size, {height} by {width} pixels, and distorted views that it would learn from."]
    write_output(path, contact_sheet(lines, "What training would see", notes))
    return pictures.refused, pictures.warnings


def tile(pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    """The picture at the size of a tile."""
    return thumbnail(encode_png(pixels), "preview", TILE)
