"""Duplicates and outliers as lists to review in other tools: tasks for Label Studio (JSON), samples for FiftyOne (CSV).

Label Studio shows what a browser can load: an image's URL if the collection has it, otherwise a small copy within the
task. FiftyOne reads the files themselves.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from retrieval.duplicates.groups import Group, GroupMember
from retrieval.errors import UsageError
from retrieval.gallery.page import data_url
from retrieval.gallery.review import reader_of
from retrieval.gallery.rows import load_thumbnail
from retrieval.search.outliers import Outlier
from retrieval.sources import Source
from retrieval.sources.folder import Folder
from retrieval.util.files import open_atomic, write_error

LABEL_STUDIO, FIFTYONE = ".json", ".csv"
SIDE = 512
"""Longer edge of an image within a task, in pixels."""

Facts = dict[str, Any]


class Item(NamedTuple):
    """An image to review.

    facts: why
    keep: the image that it is a duplicate of
    """

    image: GroupMember | Outlier
    facts: Facts
    keep: GroupMember | None = None


def check_tasks_file(file: Path) -> None:
    """Raise UsageError unless its name says which tool it is for."""
    if file.suffix.lower() not in (LABEL_STUDIO, FIFTYONE):
        raise UsageError(
            f"{file}: its name must end in {LABEL_STUDIO} (for Label Studio) or {FIFTYONE} (for FiftyOne)",
            option="tasks",
        )


def write_duplicate_tasks(file: Path, groups: Sequence[Group], sources: Mapping[str, Source]) -> int:
    """For Label Studio, a task for each image that can be removed; for FiftyOne, a sample for each image.

    Returns the number of images left out, because they cannot be shown. Raises RetrievalError, and keeps the old file,
    if the file cannot be written.
    """

    def items() -> Iterator[Item]:
        for number, group in enumerate(groups, start=1):
            shared = {"group": number, "reason": group.reason}
            if file.suffix.lower() == FIFTYONE:
                yield Item(group.keep, {**shared, "role": "keep", "distance": 0.0, "exact": True})
            for other in group.others:
                facts = {"role": "duplicate", "distance": other.distance, "exact": other.exact}
                yield Item(other, {**shared, **facts}, group.keep)

    return _write(file, items(), ("group", "reason", "role", "distance", "exact"), sources)


def write_outlier_tasks(file: Path, found: Sequence[Outlier], sources: Mapping[str, Source]) -> int:
    """A task or sample for each outlier; returns and raises as `write_duplicate_tasks`."""
    names = ("score", "why", "distance", "reconstruction_error")
    items = (Item(each, {name: each.to_json()[name] for name in names}) for each in found)
    return _write(file, items, names, sources)


def _write(file: Path, items: Iterable[Item], facts: Sequence[str], sources: Mapping[str, Source]) -> int:
    lines = _write_samples if file.suffix.lower() == FIFTYONE else _write_tasks
    left_out = 0
    try:
        with open_atomic(file) as draft:
            for line in lines(items, facts, sources):
                if line is None:
                    left_out += 1
                else:
                    draft.write(line.encode(errors="surrogateescape"))  # a path that is not UTF-8
    except OSError as error:
        raise write_error(file, error, option="tasks") from error
    return left_out


def _write_tasks(items: Iterable[Item], _: Sequence[str], sources: Mapping[str, Source]) -> Iterator[str | None]:
    """A JSON array of tasks, whose `data` hold the URLs `image` and `keep`; None for an image that cannot be shown."""
    before = "[\n"
    for item in items:
        urls = {"image": _show(item.image, sources), **({"keep": _show(item.keep, sources)} if item.keep else {})}
        if None in urls.values():
            yield None
            continue
        names = {"name": item.image.name, **({"keep_name": item.keep.name} if item.keep else {})}
        yield before + json.dumps({"data": {**urls, **names, **_describe(item)}}, ensure_ascii=False)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _write_samples(items: Iterable[Item], facts: Sequence[str], sources: Mapping[str, Source]) -> Iterator[str | None]:
    """CSV with a column `filepath`; None for an image that is not a file of a folder on this machine."""
    columns = ("filepath", "point", "source", "path", "label", *facts)
    yield _csv_line(columns)
    for item in items:
        source, path = sources.get(str(item.image.payload["source"])), str(item.image.payload["path"])
        file = source.path_of(path) if isinstance(source, Folder) else None
        if file is None or not file.is_file():
            yield None
            continue
        row = {"filepath": str(file), **_describe(item)}
        yield _csv_line([row.get(column) for column in columns])


def _describe(item: Item) -> Facts:
    payload = item.image.payload
    own = {"point": item.image.id, "source": payload["source"], "path": payload["path"], "label": payload.get("label")}
    return {**own, **item.facts}


def _show(image: GroupMember | Outlier, sources: Mapping[str, Source]) -> str | None:
    """A URL that shows the image; None if it cannot be read."""
    if url := image.payload.get("image_url"):
        return str(url)
    found = load_thumbnail(reader_of(image.payload, sources), image.name, SIDE)
    return data_url(found) if found else None


def _csv_line(cells: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
