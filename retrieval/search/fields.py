"""Whether a filter speaks of fields that there are."""

import difflib
import itertools

from retrieval.errors import UsageError
from retrieval.schema.filters import ID, Filter, fields_of
from retrieval.schema.records import FIELDS
from retrieval.store.base import Store


def check_fields(store: Store, collection: str, where: Filter, pages: int | None = None) -> None:
    """Raise UsageError for a field that no point has, naming those that there are.

    The user's own fields are looked for page by page, so that only a wrong name costs a look at all points, or at those
    of the first `pages`.
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
