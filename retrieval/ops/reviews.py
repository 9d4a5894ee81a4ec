"""The last lists of duplicates and outliers, kept for the page: a small file each under `$RETRIEVAL_HOME/reviews`."""

import contextlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from retrieval.duplicates.groups import Group, GroupMember
from retrieval.schema.records import is_id, utc_now
from retrieval.search.outliers import Outlier
from retrieval.util.files import write_json

Kind = Literal["duplicates", "outliers"]
MOST_ROWS = 1000
"""Groups of duplicates, or outliers, that are kept: the first ones."""
MOST_IMAGES = 50
"""Images of a group that are kept."""
LARGEST = 8 * 2**20
"""Bytes of a file that is read."""


@dataclass(frozen=True, slots=True)
class ReviewImage:
    """An image of a list, by the id of its point, and what there is to know about it, in words."""

    id: str
    note: str


@dataclass(frozen=True, slots=True)
class Review:
    """A list to review: rows of images that belong together.

    found: number of rows that were found; only the first MOST_ROWS are kept
    made: UTC, ISO 8601
    """

    rows: Sequence[Sequence[ReviewImage]]
    found: int
    made: str = field(default_factory=utc_now)


def review_duplicates(groups: Sequence[Group], found: int) -> Review:
    """A row for each group, beginning with the image to keep. found: number of groups that were found."""

    def row(group: Group) -> list[ReviewImage]:
        others = [ReviewImage(each.id, describe(each)) for each in group.others]
        return [ReviewImage(group.keep.id, f"to keep: {group.reason}"), *others][:MOST_IMAGES]

    return Review([row(group) for group in groups[:MOST_ROWS]], found)


def describe(member: GroupMember) -> str:
    """Whether it is an exact copy, else its size, in words."""
    payload = member.payload
    return "exact copy" if member.exact else f"{payload.get('width', 0)}×{payload.get('height', 0)}"


def review_outliers(found: Sequence[Outlier]) -> Review:
    """A row for each image."""
    notes = [ReviewImage(each.id, f"{each.why}, {each.score:.1f}") for each in found[:MOST_ROWS]]
    return Review([[each] for each in notes], len(found))


def save_review(folder: Path, alias: str, kind: Kind, review: Review) -> None:
    """Keep the list in place of the last one. If the home cannot be written to, it is lost."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file_of(folder, alias, kind), asdict(review))


def load_review(folder: Path, alias: str, kind: Kind) -> Review | None:
    """The last list; None if there is none, or it cannot be read."""
    file = file_of(folder, alias, kind)
    try:
        if file.stat().st_size > LARGEST:
            return None
        data = json.loads(file.read_text("utf-8"))
        return Review([[*read_images(row)] for row in data["rows"][:MOST_ROWS]], int(data["found"]), str(data["made"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read_images(row: Iterable[dict[str, str]]) -> Iterable[ReviewImage]:
    """The images of a stored row."""
    for image in itertools.islice(row, MOST_IMAGES):
        if is_id(image["id"]):
            yield ReviewImage(image["id"], str(image["note"]))


def file_of(folder: Path, alias: str, kind: Kind) -> Path:
    """Where the list of an alias is. An alias is a safe file name."""
    return folder / f"{alias}-{kind}.json"
