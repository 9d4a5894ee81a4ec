"""Random bytes decode to pixels or raise BadImage, never anything else."""

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import BadImage
from retrieval.images.decode import DecodedImage, decode, probe, thumbnail
from retrieval.schema.image_shape import ImageShape
from tests.images.samples import WHOLE

CALLS: list[Callable[[bytes], object]] = [
    lambda data: decode(data, "a", ImageShape(8, 8, 1)),
    lambda data: decode(data, "a", ImageShape(8, 8, 3)),
    lambda data: probe(data, "a"),
    lambda data: thumbnail(data, "a", 16),
]


def decode_or_bad_image(data: bytes) -> None:
    for call in CALLS:
        try:
            result = call(data)
        except BadImage:
            continue
        if isinstance(result, DecodedImage):
            assert result.pixels.shape[:2] == (8, 8)
            assert result.pixels.dtype == np.uint8


MAGIC = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0", b"P5 ", b"P4\n"]
HEIF = b"\0\0\0\x18ftypheic"


@given(start=st.sampled_from([*MAGIC, HEIF]), rest=st.binary(max_size=200))
def test_any_bytes(start: bytes, rest: bytes) -> None:
    decode_or_bad_image(start + rest)


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(sorted(WHOLE)),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
    head=st.booleans(),
)
def test_a_file_with_wrong_bytes(kind: str, edits: list[tuple[int, int]], head: bool) -> None:
    data = bytearray(WHOLE[kind])
    for place, value in edits:
        data[place % (100 if head else len(data))] = value
    decode_or_bad_image(bytes(data))
