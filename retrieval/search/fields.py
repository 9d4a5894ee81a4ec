"""Checks that the fields of a filter exist."""

import difflib
import itertools

from retrieval.errors import UsageError
from retrieval.schema.filters import ID, Filter, fields_of
from retrieval.schema.records import FIELDS
from retrieval.store.base import Store


def check_fields(store: Store, collection: str, where: Filter, pages: int | None = None) -> None:
    """Raise UsageError for a field that no point has, naming the existing fields.

    Users' own fields are looked up page by page, so only a wrong name needs a pass over all points.

    pages: maximum number of pages to read (default: all)
    """
    known = {ID, *FIELDS}
    missing = fields_of(where) - known
    for page in itertools.islice(store.scroll(collection), pages) if missing else ():
        known.update(name for point in page for name in point.payload)
        missing -= known
        if not missing:
            return
    if missing:
        name = min(missing)
        close = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"no image has a field {name!r}; there are {', '.join(sorted(known))}",
            hint=f"did you mean {close[0]}?" if close else "",
            option="where",
        )
