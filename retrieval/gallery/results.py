"""Turns search results into rows of a gallery."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from retrieval.gallery.rows import Row, Tile, format_nearness
from retrieval.schema.records import Hit
from retrieval.search.query import Query, Stored
from retrieval.search.results import NOTHING_ELSE, Result
from retrieval.sources import Source
from retrieval.util.wording import count_of


def result_rows(
    results: Iterable[Result], sources: Mapping[str, Source], read_stored: Callable[[Stored], bytes] | None = None
) -> list[Row]:
    """A row for each result; a hit's image is read from its source if that can be opened.

    read_stored: reads the file of a query that is a stored image; raises BadImage
    """

    def tile(rank: int, hit: Hit) -> Tile:
        source = sources.get(hit.source)
        read = partial(source.read, hit.path) if source else None
        copies = [f"+ {count_of(len(hit.copies), 'exact copy', 'exact copies')}"] if hit.copies else []
        stale = ["stale: its file cannot be read any more"] if hit.stale else []
        return Tile(read, hit.name, format_nearness(hit.distance, hit.percentile), hit.label, rank, [*copies, *stale])

    def row(result: Result) -> Row:
        query = result.query
        read = query.read if isinstance(query, Query) else read_stored and partial(read_stored, query)
        label = query.label if isinstance(query, Query) else None
        facts = [result.note] if result.hits and result.note else []
        hits = [tile(rank, hit) for rank, hit in enumerate(result.hits, start=1)]
        return Row(Tile(read, query.name, "query", label, facts=facts), hits, result.note or NOTHING_ELSE)

    return [row(result) for result in results]
