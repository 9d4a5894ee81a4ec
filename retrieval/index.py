"""The program for programs: open a collection, search it, and look into it. The command line is built on this."""

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from retrieval.config import Settings, load_settings
from retrieval.errors import BadImage, StoreError
from retrieval.filters import Filter
from retrieval.found import Found, Picture, as_query
from retrieval.live import Reader
from retrieval.loading import collections_model, make_encoder, model_of
from retrieval.nearness import distance_at
from retrieval.records import Hit
from retrieval.search.fields import check_fields
from retrieval.search.job import BATCH, Live, more_like
from retrieval.search.options import K, Options
from retrieval.search.query import Query, Stored, stored_point
from retrieval.search.results import Result
from retrieval.sources import Source
from retrieval.sources.open import open_known
from retrieval.store import open_store
from retrieval.store.base import Store, resolve
from retrieval.where import parse

if TYPE_CHECKING:
    from retrieval.duplicates.groups import Group
    from retrieval.duplicates.job import Step, Summary
    from retrieval.encode import Encoder
    from retrieval.explain import Explanation
    from retrieval.export import Summary as Exported
    from retrieval.gallery import Row
    from retrieval.outliers import Outlier, Report


class Index:
    """What an alias names, open for searching; close it, or use it as a block.

    On the embedded engine one process at a time has the folder; on a server any number.
    """

    def __init__(self, store: Store, settings: Settings, alias: str = "images") -> None:
        """See `open`."""
        self.store, self.settings, self.alias = store, settings, alias
        self._reader = Reader(store, alias, self._load)
        self._last = contextlib.ExitStack()
        self._closed = False

    @classmethod
    def open(
        cls,
        alias: str = "images",
        *,
        model: str | None = None,
        home: Path | None = None,
        qdrant_url: str | None = None,
        settings: Settings | None = None,
    ) -> "Index":
        """Open the collection behind an alias; what is not given comes from the environment and `retrieval.toml`.

        model: must be the one that made the collection. Raises NoCollection, ModelError for another model,
        StoreUnavailable, Locked when another process has the embedded engine.
        """
        settings = settings or load_settings(home=home, qdrant_url=qdrant_url)
        with contextlib.ExitStack() as stack:
            store = stack.enter_context(open_store(settings))
            collection = resolve(store, alias)
            store.metadata(collection)  # opens it: one that is damaged says so now, and others need not be whole
            if model is not None:
                model_of(store, collection, settings, model)
            index = cls(store, settings, alias)
            index._last = stack.pop_all()
        return index

    def search(self, picture: Picture, k: int = K, *, where: "str | Filter | None" = None, **options: Any) -> Found:
        """The k pictures nearest to one, by Euclidean distance of their codes.

        where: what they must meet, as `--where` writes it · options: as in `search.options.Options`. Raises BadImage
        for what is no picture, UsageError for options that make no sense.
        """
        (result,) = self.reader.search([as_query(picture)], self.options(k=k, where=where, **options))
        if result.refused is not None:
            raise BadImage(result.query.name, result.refused)
        return Found(result, self.rows)

    def search_many(
        self, pictures: Iterable[Picture], k: int = K, *, where: "str | Filter | None" = None, **options: Any
    ) -> Iterator[Found]:
        """The same for many, in batches; what is no picture has no hits and says why in its `note`."""
        for result in self.stream(map(as_query, pictures), self.options(k=k, where=where, **options)):
            yield Found(result, self.rows)

    def like(
        self,
        like: Sequence[Picture],
        unlike: Sequence[Picture] = (),
        k: int = K,
        *,
        where: "str | Filter | None" = None,
        **options: Any,
    ) -> Found:
        """Pictures more like some and less like others; distances are to the nearest of `like`."""
        chosen = self.options(k=k, where=where, **options)
        return Found(self.more_like([as_query(p) for p in like], [as_query(p) for p in unlike], chosen), self.rows)

    def stream(self, queries: Iterable[Query | Stored], options: Options) -> Iterator[Result]:
        """Results in the order of the queries, which may be without end; each batch is asked of what is live then."""
        queries = iter(queries)
        while batch := list(itertools.islice(queries, BATCH)):
            yield from self.reader.search(batch, options)

    def more_like(self, like: Sequence[Query | Stored], unlike: Sequence[Query | Stored], options: Options) -> Result:
        """As `like`, of queries."""
        return self.reader.ask(lambda live: more_like(self.store, live, like, unlike, options))

    def explain(self, a: Picture, b: Picture) -> "Explanation":
        """Two pictures: their distance, what it means, the rank of each for the other, and what the decoder sees."""
        from retrieval.explain import explain

        return self.reader.ask(lambda live: explain(self.store, live, [as_query(a), as_query(b)]))

    def duplicates(
        self,
        summary: "Summary | None" = None,
        *,
        max_distance: float | None = None,
        max_percentile: float | None = None,
        step: "Step" = lambda what, done, total: None,
    ) -> "Iterator[Group]":
        """Groups of near-duplicates; without a limit, pictures are compared to be sure. Raises SourceError."""
        from retrieval.duplicates.job import Summary, find

        live = self.live()
        if max_percentile is not None:
            at = distance_at(live.meta, max_percentile)
            max_distance = min(max_distance if max_distance is not None else float("inf"), at or 0.0)
        yield from find(
            self.store, live.collection, live.meta, self.sources(), summary or Summary(), max_distance, step
        )

    def outliers(self, limit: int = 50, *, report: "Report" = lambda done, total: None) -> "list[Outlier]":
        """The pictures that fit least, the oddest first."""
        from retrieval.outliers import find

        return find(self.store, self.live(), self.sources(), limit, report)

    def export(self, file: "str | os.PathLike[str]", *, where: "str | Filter | None" = None) -> "Exported":
        """Write ids, codes and payloads to a `.parquet` or `.npz` file; see `retrieval.export.export`."""
        from retrieval.export import export

        self.live()  # raises when the index is closed
        return export(self.store, self.alias, Path(file), where)

    def options(self, *, where: "str | Filter | None" = None, **options: Any) -> Options:
        """Checked; `where` may be text. Raises UsageError for a field that no picture has."""
        return Options(where=self.filter(where), **options)

    def filter(self, where: "str | Filter | None") -> Filter | None:
        """The filter that a text means; raises UsageError for one that is not understood, or for unknown fields."""
        chosen = parse(where) if isinstance(where, str) else where
        if chosen is not None:
            check_fields(self.store, self.live().collection, chosen)
        return chosen

    def live(self) -> Live:
        """Collection, metadata and encoder, as the alias is now. Raises StoreError when the index is closed."""
        return self.reader.live()

    @property
    def reader(self) -> Reader:
        """What follows the alias."""
        if not self._closed:
            return self._reader
        raise StoreError(f"the index of {self.alias!r} is closed; open it again")

    def sources(self) -> dict[str, Source]:
        """The collection's sources that are in reach, by name; once closed, those of what was last seen."""
        live = self._reader.last if self._closed else self.live()
        return open_known(live.meta.sources, self.settings) if live else {}

    def picture(self, hit: Hit) -> bytes:
        """The image file of a hit, from where its source was last seen. Raises BadImage."""
        source = self.sources().get(hit.source)
        if source is None:
            raise BadImage(hit.name, "its source is out of reach")
        return source.read(hit.path)

    def read(self, query: Query | Stored) -> bytes:
        """The image file of a query. Raises BadImage, UsageError for a stored picture that is not there."""
        if isinstance(query, Query):
            return query.read()
        if self._closed:
            raise BadImage(query.name, "its collection is closed")
        point = stored_point(self.store, self.live().collection, query.name)
        return self.picture(Hit(point.id, 0.0, point.payload))

    def reconstruct(self, ids: Sequence[str]) -> "dict[str, UInt8[np.ndarray, 'h w c']]":
        """What the decoder makes of stored codes, in [0, 255], by point id."""
        live = self.live()
        points = list(self.store.retrieve(live.collection, ids, codes=True).values())
        codes = np.array([point.code for point in points], np.float32).reshape(-1, live.meta.dim)
        seen = np.rint(live.encoder.decode(codes) * 255).astype(np.uint8)
        return {point.id: pixels for point, pixels in zip(points, seen, strict=True)}

    def rows(self, results: Iterable[Result]) -> "list[Row]":
        """Results as galleries take them."""
        from retrieval.gallery.results import result_rows

        return result_rows(results, self.sources(), self.read)

    def close(self) -> None:
        """Let the engine go; what was found can still be looked at."""
        self._closed = True
        self._last.close()

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _load(self, fingerprint: str) -> "Encoder":
        return make_encoder(self.settings, collections_model(self.settings, self.live().collection, fingerprint))
