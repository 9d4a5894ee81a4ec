"""The pictures to learn from: at which size, how many, and read into one array."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from retrieval.errors import BadImage, SourceError
from retrieval.images.decode import probe
from retrieval.model.config import MIN_SIDE
from retrieval.sources import Entry, Source
from retrieval.sources.arrays import choose_rows, read_image_array
from retrieval.sources.read import Refused
from retrieval.train.options import TrainOptions
from retrieval.util.reporting import ReportCount

PROBED = 200
"""Images looked at to choose the model's image size and channels."""
DEFAULT_SIDE = 64
"""For pictures that are larger than that, or of several sizes."""
VARIED = 2
"""Pictures that differ so many times in the ratio of their sides, or twice that in a side, are worth a warning."""
PIXEL_BUDGET = 2**30
"""Bytes of decoded images held in memory; from a larger source a random part is taken."""


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """What was read, what was refused, and what the user should be told."""

    images: UInt8[np.ndarray, "n h w c"]
    refused: list[Refused]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class InputShape:
    """(height, width) and channels for the model, and what the user should be told about them."""

    size: tuple[int, int]
    channels: int
    warnings: list[str] = field(default_factory=list)


def read_training_images(
    sources: Sequence[Source],
    options: TrainOptions,
    reading: ReportCount,
    most: int | None = None,
) -> TrainingImages:
    """The sources' pictures as training sees them; of more than `most`, or than fit PIXEL_BUDGET, a random part.

    Raises SourceError when no image can be used.
    """
    entries = [entry for source in sources for entry in source.entries()]
    shape = choose_shape(entries, options)
    limit = min(most or len(entries), PIXEL_BUDGET // (shape.size[0] * shape.size[1] * shape.channels))
    chosen = [entries[i] for i in choose_rows(len(entries), limit, options.seed)]
    stack = read_image_array(chosen, shape.size, shape.channels, reading)
    if not len(stack.images):
        first = stack.refused[0]
        raise SourceError(f"none of {len(entries):,} images can be used; the first: {first.entry.name}: {first.reason}")
    warnings = list(shape.warnings)
    if limit < len(entries) and not most:
        warnings.append(
            f"{limit:,} of {len(entries):,} images fit into memory; the model learns from those, a random part"
        )
    return TrainingImages(stack.images, stack.refused, warnings)


def choose_shape(entries: Sequence[Entry], options: TrainOptions = TrainOptions()) -> InputShape:  # noqa: B008 - it is frozen
    """What the model should take: small images of one size as they are, else 64×64; grey if all are.

    The options come first. Raises SourceError when none of PROBED images can be read.
    """
    step = max(1, len(entries) // PROBED)
    shapes, reasons = [], []
    for entry in entries[::step]:
        try:
            shapes.append(probe(entry.read(), entry.name))
        except BadImage as error:
            reasons.append(str(error))
    if not shapes:
        raise SourceError(f"none of {len(reasons):,} images tried can be used; the first: {reasons[0]}")
    colours = max(c for _, _, c in shapes)
    channels = options.channels or colours
    height, width = (int(statistics.median(sides)) for sides in list(zip(*shapes, strict=True))[:2])
    alike = all(shape[:2] == (height, width) for shape in shapes)
    if options.image_size:
        size = options.image_size
    elif alike and max(height, width) <= DEFAULT_SIDE:
        size = max(height, MIN_SIDE), max(width, MIN_SIDE)
    else:
        size = DEFAULT_SIDE, DEFAULT_SIDE
    warnings = []
    if vary_widely([(h, w) for h, w, _ in shapes]):
        smallest, largest = min(shapes, key=area), max(shapes, key=area)
        warnings.append(
            f"the pictures differ widely in size, from {smallest[0]}×{smallest[1]} to {largest[0]}×{largest[1]}; all"
            f" are stretched to {size[0]}×{size[1]}; --image-size sets another"
        )
    if channels < colours:
        warnings.append("some pictures have colour, and --channels 1 leaves it out")
    return InputShape(size, channels, warnings)


def area(shape: tuple[int, ...]) -> int:
    """Pixels of a (height, width, …)."""
    return shape[0] * shape[1]


def vary_widely(sizes: Sequence[tuple[int, int]]) -> bool:
    """Whether stretching all to one size makes some of them hard to know again."""
    ratios = [height / width for height, width in sizes]
    sides = [side for size in sizes for side in size]
    return max(ratios) > VARIED * min(ratios) or max(sides) > 2 * VARIED * min(sides)
