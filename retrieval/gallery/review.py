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
from retrieval.search.outliers import Outlier
from retrieval.sources import Source

Pixels = UInt8[np.ndarray, "h w c"]


def write_duplicates(path: Path, groups: Sequence[Group], sources: Mapping[str, Source], points: int) -> None:
    """A row for each group: the image to keep and why, and the others beside it."""

    def row(group: Group) -> Row:
        keep = group.keep
        tiles = [
            Tile(reader_of(each, sources), each.distance, str(each.payload["source"]), describe_member(each))
            for each in group.others
        ]
        return Row(keep.name, reader_of(keep, sources), tiles, note=f"keep: {group.reason}, {format_size(keep)}")

    many = sum(len(group.others) for group in groups)
    notes = [f"{points:,} images: {len(groups):,} groups, {many:,} images can be removed. Nothing was deleted."]
    write_html(path, list(map(row, groups)), "Duplicates", notes)


def write_outliers(
    path: Path, found: Sequence[Outlier], sources: Mapping[str, Source], seen: Mapping[str, Pixels]
) -> None:
    """A row for each image, with its reconstruction beside it."""

    def row(each: Outlier) -> Row:
        source = sources.get(str(each.payload["source"]))
        read = partial(source.read, str(each.payload["path"])) if source else None
        decoded = (
            [Tile(png_reader(seen[each.id]), each.distance, "model", "its reconstruction")] if each.id in seen else []
        )
        error = "" if each.error is None else f", reconstruction error {each.error:.3f}"
        note = f"{each.why}: {each.score:.1f} typical deviations{error}"
        return Row(each.name, read, decoded, each.payload.get("label"), note=note, refused="not reconstructed")

    notes = [
        "Beside each image: the reconstruction from its embedding. The distance is to the fifth nearest neighbour."
    ]
    write_html(path, list(map(row, found)), "Outliers", notes)


def write_explanation(path: Path, found: Explanation, images: Sequence[bytes], lines: Sequence[str]) -> None:
    """Both images, each with its reconstruction beside it."""
    rows = [
        Row(name, lambda data=data: data, [Tile(png_reader(seen), found.distance, "model", "its reconstruction")])  # type: ignore[misc]
        for name, data, seen in zip(found.names, images, found.seen, strict=True)
    ]
    write_html(path, rows, "Two images", lines)


def reader_of(member: GroupMember, sources: Mapping[str, Source]) -> Read | None:
    """A function that reads the image's file; None if its source cannot be opened."""
    source = sources.get(str(member.payload["source"]))
    return partial(source.read, str(member.payload["path"])) if source else None


def describe_member(member: GroupMember) -> str:
    """Path, size, and whether it is an exact copy, in words."""
    return f"{member.payload['path']}  ({'exact copy, ' * member.exact}{format_size(member)})"


def format_size(member: GroupMember) -> str:
    """The size of the image in pixels and of its file in bytes."""
    payload = member.payload
    return f"{payload.get('width', 0)}×{payload.get('height', 0)}, {payload.get('bytes', 0):,} bytes"


def png_reader(pixels: Pixels) -> Read:
    """A function that returns the pixels as a PNG file."""
    data = encode_png(pixels)
    return lambda: data
