"""Turns search results into rows of a gallery."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from retrieval.gallery.rows import Row, Tile
from retrieval.schema.records import Hit
from retrieval.search.query import Query, Stored
from retrieval.search.results import Result
from retrieval.sources import Source


def result_rows(
    results: Iterable[Result], sources: Mapping[str, Source], read_stored: Callable[[Stored], bytes] | None = None
) -> list[Row]:
    """A row for each result; a hit's image is read from its source if that can be opened.

    read_stored: reads the file of a query that is a stored image; raises BadImage
    """

    def tile(hit: Hit) -> Tile:
        source = sources.get(hit.source)
        read = partial(source.read, hit.path) if source else None
        return Tile(read, hit.distance, hit.source, hit.path, hit.label, hit.percentile, len(hit.copies), hit.stale)

    def row(result: Result) -> Row:
        query = result.query
        read = query.read if isinstance(query, Query) else read_stored and partial(read_stored, query)
        return Row(
            query.name,
            read,
            [tile(hit) for hit in result.hits],
            query.label if isinstance(query, Query) else None,
            refused=None if result.hits else result.note,
            note=result.note if result.hits else None,
        )

    return [row(result) for result in results]
