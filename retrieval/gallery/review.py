"""Pages to review: groups of duplicates, outliers, and two images compared."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from retrieval.duplicates.groups import Group, GroupMember
from retrieval.gallery.page import write_html
from retrieval.gallery.rows import Read, Row, Tile
from retrieval.images.decode import encode_png
from retrieval.schema.arrays import UInt8
from retrieval.search.explain import Explanation
from retrieval.search.outliers import NEIGHBOURS, Outlier
from retrieval.sources import Source
from retrieval.util.wording import count_of, format_bytes

Pixels = UInt8[np.ndarray, "h w c"]


def write_duplicates(path: Path, groups: Sequence[Group], sources: Mapping[str, Source], points: int) -> None:
    """A row for each group: the image to keep and why, and the others beside it."""

    def tile(member: GroupMember, head: str, *facts: str) -> Tile:
        payload = member.payload
        size = f"{payload.get('width', 0)}×{payload.get('height', 0)}, {format_bytes(payload.get('bytes', 0))}"
        return Tile(reader_of(payload, sources), member.name, head, facts=[*facts, size])

    def row(group: Group) -> Row:
        others = [tile(each, "exact copy" if each.exact else f"distance {each.distance:.4f}") for each in group.others]
        return Row(tile(group.keep, "keep", group.reason), others)

    others = [each for group in groups for each in group.others]
    freed = format_bytes(sum(each.payload.get("bytes", 0) for each in others))
    notes = [
        f"{count_of(points, 'image')}: {count_of(len(groups), 'group')}, {count_of(len(others), 'image')} ({freed}) can"
        " be removed. Nothing was deleted."
    ]
    if groups:
        notes.append(
            "Each row is a group: first the image to keep and why, then its duplicates, nearest first. The distance is"
            " from the image to keep, Euclidean between the two embeddings."
        )
    write_html(path, list(map(row, groups)), "Duplicates", notes)


def write_outliers(
    path: Path, found: Sequence[Outlier], sources: Mapping[str, Source], seen: Mapping[str, Pixels]
) -> None:
    """A pair for each image: itself, and its reconstruction."""

    def row(each: Outlier) -> Row:
        facts = [f"score {each.score:.1f}", f"distance {each.distance:.4f}"]
        read = reader_of(each.payload, sources)
        image = Tile(read, each.name, each.why, each.payload.get("label"), facts=facts)
        error = [] if each.error is None else [f"error {each.error:.3f}"]
        drawn = [Tile(png_reader(seen[each.id]), "", "reconstruction", facts=error)] if each.id in seen else []
        return Row(image, drawn, "not reconstructed")

    notes = [
        f"{count_of(len(found), 'image')}, the strongest outliers first, each beside the reconstruction from its"
        " embedding.",
        f"Distance: from the image to its {NEIGHBOURS}th nearest neighbour, Euclidean between embeddings. Error: the"
        " share of the image's variance that the reconstruction misses. Score: by how many standard deviations the more"
        " unusual of the two is above the collection's median.",
    ]
    write_html(path, list(map(row, found)), "Outliers", notes, pairs=True)


def write_explanation(path: Path, found: Explanation, images: Sequence[bytes], lines: Sequence[str]) -> None:
    """Two pairs: each image, and its reconstruction."""
    rows = [
        Row(Tile(lambda data=data: data, name, head), [Tile(png_reader(seen), "", "reconstruction")])  # type: ignore[misc]
        for head, name, data, seen in zip("AB", found.names, images, found.seen, strict=True)
    ]
    write_html(path, rows, "Two images", [f"{line[0].upper()}{line[1:]}." for line in lines], pairs=True)


def reader_of(payload: Mapping[str, object], sources: Mapping[str, Source]) -> Read | None:
    """A function that reads the image's file; None if its source cannot be opened."""
    source = sources.get(str(payload["source"]))
    return partial(source.read, str(payload["path"])) if source else None


def png_reader(pixels: Pixels) -> Read:
    """A function that returns the pixels as a PNG file."""
    data = encode_png(pixels)
    return lambda: data
