"""IDX, the file format of MNIST and similar data sets: a big-endian header, then unsigned bytes; gzipped or not."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy import ndarray

from retrieval.errors import SourceError
from retrieval.schema.arrays import UInt8
from retrieval.util.wording import count_of

MAX_IDX_BYTES = 2**30
"""Maximum number of pixels in a file; MNIST's training set has 47 million."""


def read_idx(path: Path, dimensions: int) -> UInt8[ndarray, "..."]:
    """The file's array, read-only; raises SourceError if the file does not match its header exactly."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            header = file.read(4 + 4 * dimensions)
            if len(header) < 4 + 4 * dimensions:
                raise SourceError(f"{path}: too short for an IDX file", hint="replace it")
            magic, *shape = struct.unpack(f">{1 + dimensions}I", header)
            if magic != 0x0800 + dimensions:
                raise SourceError(
                    f"{path}: starts with {magic:#010x}, but an IDX file of bytes in {dimensions} dimensions"
                    f" starts with {0x0800 + dimensions:#010x}",
                    hint="replace it",
                )
            size = math.prod(shape)
            if size > MAX_IDX_BYTES:
                raise SourceError(f"{path}: announces {size:,} bytes; at most {MAX_IDX_BYTES:,} are read")
            data = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path} cannot be read: {error}", hint="replace it") from error
    if len(data) != size:
        found = f"{len(data):,}" if len(data) < size else "more"
        raise SourceError(f"{path}: announces {size:,} bytes, but holds {found}", hint="replace it")
    return np.frombuffer(data, np.uint8).reshape(shape)


def read_pair(images: Path, labels: Path) -> tuple[UInt8[ndarray, "n h w"], UInt8[ndarray, " n"]]:
    """Images and their labels; raises SourceError if their numbers differ."""
    pixels, classes = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(classes):
        raise SourceError(
            f"{images} holds {count_of(len(pixels), 'image')}, but {labels.name} {count_of(len(classes), 'label')}",
            hint="replace both",
        )
    if not pixels.size:
        raise SourceError(f"{images} holds no images", hint="replace it")
    return pixels, classes
