"""Pages to review: groups of duplicates, pictures that fit nowhere, two pictures explained."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from retrieval.duplicates.groups import Group, GroupMember
from retrieval.gallery.page import write_html
from retrieval.gallery.rows import Read, Row, Tile
from retrieval.images.decode import encode_png
from retrieval.search.explain import Explanation
from retrieval.search.outliers import Outlier
from retrieval.sources import Source

Pixels = UInt8[np.ndarray, "h w c"]


def write_duplicates(path: Path, groups: Sequence[Group], sources: Mapping[str, Source], points: int) -> None:
    """A row for each group: the picture to keep and why, and the others beside it."""

    def row(group: Group) -> Row:
        keep = group.keep
        tiles = [
            Tile(reader(each, sources), each.distance, str(each.payload["source"]), named(each))
            for each in group.others
        ]
        return Row(keep.name, reader(keep, sources), tiles, note=f"keep: {group.reason}, {size(keep)}")

    many = sum(len(group.others) for group in groups)
    notes = [f"{points:,} pictures: {len(groups):,} groups, {many:,} pictures could go. Nothing was deleted."]
    write_html(path, list(map(row, groups)), "Duplicates", notes)


def write_outliers(
    path: Path, found: Sequence[Outlier], sources: Mapping[str, Source], seen: Mapping[str, Pixels]
) -> None:
    """A row for each picture, with its reconstruction beside it."""

    def row(each: Outlier) -> Row:
        source = sources.get(str(each.payload["source"]))
        read = partial(source.read, str(each.payload["path"])) if source else None
        decoded = [Tile(png_of(seen[each.id]), each.distance, "model", "its reconstruction")] if each.id in seen else []
        error = "" if each.error is None else f", reconstruction error {each.error:.3f}"
        note = f"{each.why}: {each.score:.1f} typical deviations{error}"
        return Row(each.name, read, decoded, each.payload.get("label"), note=note, refused="not reconstructed")

    notes = ["Beside each picture what the decoder makes of its code; the distance is to its fifth nearest."]
    write_html(path, list(map(row, found)), "Pictures that fit nowhere", notes)


def write_explanation(path: Path, found: Explanation, pictures: Sequence[bytes], lines: Sequence[str]) -> None:
    """Both pictures, each with its reconstruction beside it."""
    rows = [
        Row(name, lambda data=data: data, [Tile(png_of(seen), found.distance, "model", "its reconstruction")])  # type: ignore[misc]
        for name, data, seen in zip(found.names, pictures, found.seen, strict=True)
    ]
    write_html(path, rows, "Two pictures", lines)


def reader(member: GroupMember, sources: Mapping[str, Source]) -> Read | None:
    """What reads a picture, where it is in reach."""
    source = sources.get(str(member.payload["source"]))
    return partial(source.read, str(member.payload["path"])) if source else None


def named(member: GroupMember) -> str:
    """Path, size, and whether it is an exact copy."""
    return f"{member.payload['path']}  ({'exact copy, ' * member.exact}{size(member)})"


def size(member: GroupMember) -> str:
    """Pixels and bytes."""
    payload = member.payload
    return f"{payload.get('width', 0)}×{payload.get('height', 0)}, {payload.get('bytes', 0):,} bytes"


def png_of(pixels: Pixels) -> Read:
    """A picture as what reads its file."""
    data = encode_png(pixels)
    return lambda: data
