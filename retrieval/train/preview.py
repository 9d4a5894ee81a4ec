"""A preview of the distorted views that training would use, as one image to check before training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from retrieval.errors import UsageError
from retrieval.images.decode import encode_png, thumbnail
from retrieval.images.draw import TILE, Cell, Line, contact_sheet
from retrieval.sources import Source
from retrieval.sources.read import Refused
from retrieval.train.augment import default_distortion, distorted_copies, trunk_distortion
from retrieval.train.data import read_training_images
from retrieval.train.options import TrainOptions
from retrieval.util.files import write_output
from retrieval.util.reporting import ReportCount, ignore

READ = 1000
"""Maximum number of images read, a random sample: enough to choose the distortions."""
ROWS, VIEWS = 8, 7


def preview(
    path: Path,
    sources: Sequence[Source],
    options: TrainOptions,
    reading: ReportCount = ignore,
) -> tuple[list[Refused], list[str]]:
    """Draw ROWS images, each beside VIEWS distorted views; returns the images that were refused, and warnings.

    path: the PNG to write
    reading: called with how many images are read, and their total
    Raises UsageError for the objective `reconstruction`, which uses no views, SourceError when no image can be used,
    RetrievalError when the file cannot be written.
    """
    if options.objective == "reconstruction":
        raise UsageError(
            "the objective reconstruction uses undistorted images, so there are no views to show",
            option="preview",
            hint="leave it out, or choose another objective",
        )
    data = read_training_images(sources, options, reading, most=READ)
    images = data.images[:: max(1, len(data.images) // ROWS)][:ROWS]
    how = trunk_distortion(data.images) if data.choice.trunk == "photos" else default_distortion(data.images)
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
    notes = [f"Images at the model's size, {height} by {width} pixels, and distorted views for training."]
    write_output(path, contact_sheet(lines, "What training would see", notes))
    return data.refused, data.warnings


def tile(pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    """The image at the size of a tile."""
    return thumbnail(encode_png(pixels), "preview", TILE)
