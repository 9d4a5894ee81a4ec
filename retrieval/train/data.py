"""The training images: choose their size and number, and read them into one array."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import UInt8

from retrieval.errors import BadImage, SourceError
from retrieval.images.decode import probe
from retrieval.model.config import MIN_SIDE
from retrieval.schema.image_shape import ImageShape
from retrieval.sources import Entry, Source
from retrieval.sources.arrays import choose_rows, read_image_array
from retrieval.sources.read import Refused
from retrieval.train.drawings import drawn_share
from retrieval.train.options import TrainOptions
from retrieval.train.types import TrunkChoice
from retrieval.util.reporting import ReportCount
from retrieval.util.wording import count_of

PROBED = 200
"""Number of images from whose headers the model's image size and channels are chosen."""
DEFAULT_SIDE = 64
"""Side in pixels for images that are larger, or of several sizes."""
TRUNK_SIDE, TRUNK_IMAGES = 160, 8000
"""Side in pixels of the images that the trunk sees, and the maximum number of images that a model on it learns from."""
DRAWN_SHAPE = ImageShape(DEFAULT_SIDE, DEFAULT_SIDE, 3)
"""How images are read to tell drawings from photographs."""
VARIED = 2
"""Warn if aspect ratios differ by more than this factor, or sides by more than twice this factor."""
PIXEL_BUDGET = 2**30
"""Maximum bytes of decoded images in memory; of a larger source, a random sample is read."""


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """Images to train on.

    images: u8 in [0, 255]
    refused: those that could not be used
    warnings: for the user
    choice: what the model sees
    """

    images: UInt8[np.ndarray, "n h w c"]
    refused: list[Refused]
    warnings: list[str]
    choice: "ChosenTrunk"


@dataclass(frozen=True, slots=True)
class ChosenTrunk:
    """What a model sees, and why.

    trunk: never auto
    drawn_share: share of drawings among the images looked at, in [0, 1]; None: the options decided
    """

    trunk: TrunkChoice
    drawn_share: float | None = None


@dataclass(frozen=True, slots=True)
class InputShape:
    """How the model takes images, with warnings for the user."""

    shape: ImageShape
    warnings: list[str] = field(default_factory=list)


def read_training_images(
    sources: Sequence[Source],
    options: TrainOptions,
    reading: ReportCount,
    most: int | None = None,
) -> TrainingImages:
    """Read the sources' images at the model's size; a random sample if they do not fit into PIXEL_BUDGET.

    reading: called with how many images are read, and their total
    most: maximum number of images (default: no limit)
    Raises SourceError when no image can be used.
    """
    entries = [entry for source in sources for entry in source.entries()]
    choice = choose_trunk(entries, options)
    options = replace(options, trunk=choice.trunk)
    chosen = choose_shape(entries, options)
    shape = chosen.shape
    if most is None and choice.trunk == "photos":
        most = TRUNK_IMAGES
    limit = min(most or len(entries), PIXEL_BUDGET // shape.nbytes)
    rows = [entries[i] for i in choose_rows(len(entries), limit, options.seed)]
    read = read_image_array(rows, shape, reading)
    if not len(read.images):
        first = read.refused[0]
        raise SourceError(
            f"none of {count_of(len(entries), 'image')} can be used; the first: {first.entry.name}: {first.reason}"
        )
    warnings = list(chosen.warnings)
    if limit < len(entries) and not most:
        warnings.append(
            f"{limit:,} of {len(entries):,} images fit into memory; the model is trained on a random sample"
        )
    return TrainingImages(read.images, read.refused, warnings, choice)


def choose_trunk(entries: Sequence[Entry], options: TrainOptions) -> ChosenTrunk:
    """Choose what the model sees, unless the options do: its own pixels if most images are drawn, else the trunk.

    Looks at PROBED images. None that can be read: the pixels, where the same images fail with a reason.
    """
    if options.trunk != "auto":
        return ChosenTrunk(options.trunk)
    if options.of_pixels or options.image_size:
        return ChosenTrunk("none")
    looked_at = read_image_array(entries[:: max(1, len(entries) // PROBED)][:PROBED], DRAWN_SHAPE).images
    if not len(looked_at):
        return ChosenTrunk("none")
    share = drawn_share(looked_at)
    return ChosenTrunk("none" if share > 0.5 else "photos", share)


def choose_shape(entries: Sequence[Entry], options: TrainOptions = TrainOptions()) -> InputShape:  # noqa: B008 - it is frozen
    """Choose the model's input, unless the options do: the images' own size if it is one and small, else 64×64.

    The model is grey if all images are. On the trunk it is always in colour, and images are cropped.
    Raises SourceError when none of PROBED images can be read.
    """
    step = max(1, len(entries) // PROBED)
    shapes, reasons = [], []
    for entry in entries[::step]:
        try:
            shapes.append(probe(entry.read(), entry.name))
        except BadImage as error:
            reasons.append(str(error))
    if not shapes:
        raise SourceError(f"none of {count_of(len(reasons), 'image')} tried can be used; the first: {reasons[0]}")
    colours = max(c for _, _, c in shapes)
    trunk = options.trunk == "photos"
    channels = 3 if trunk else options.channels or colours
    height, width = (int(statistics.median(sides)) for sides in list(zip(*shapes, strict=True))[:2])
    alike = all(shape[:2] == (height, width) for shape in shapes)
    if options.image_size:
        size = options.image_size
    elif trunk:
        size = TRUNK_SIDE, TRUNK_SIDE
    elif alike and max(height, width) <= DEFAULT_SIDE:
        size = max(height, MIN_SIDE), max(width, MIN_SIDE)
    else:
        size = DEFAULT_SIDE, DEFAULT_SIDE
    if trunk:
        return InputShape(ImageShape(*size, channels, "crop"))
    warnings = []
    if vary_widely([(h, w) for h, w, _ in shapes]):
        smallest, largest = min(shapes, key=area), max(shapes, key=area)
        warnings.append(
            f"the images differ widely in size, from {smallest[0]}×{smallest[1]} to {largest[0]}×{largest[1]}; all"
            f" are stretched to {size[0]}×{size[1]}; --image-size sets another"
        )
    if channels < colours:
        warnings.append("some images have colour, which --channels 1 discards")
    return InputShape(ImageShape(*size, channels), warnings)


def area(shape: tuple[int, ...]) -> int:
    """Number of pixels of a (height, width, …)."""
    return shape[0] * shape[1]


def vary_widely(sizes: Sequence[tuple[int, int]]) -> bool:
    """Whether stretching images of these (height, width) to one size would make some of them hard to recognise."""
    ratios = [height / width for height, width in sizes]
    sides = [side for size in sizes for side in size]
    return max(ratios) > VARIED * min(ratios) or max(sides) > 2 * VARIED * min(sides)
