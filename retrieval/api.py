"""The Python API: open a collection, search it and inspect it. The command line and the service are built on this."""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval.config import Settings, load_settings
from retrieval.errors import DEFAULT_ALIAS, BadImage, StoreError
from retrieval.gallery.hits import ImageLike, SearchHits, as_query
from retrieval.model import saved_models
from retrieval.model.resolve import load_collection_model, make_lazy_encoder, model_of
from retrieval.schema.arrays import UInt8
from retrieval.schema.filter_language import parse
from retrieval.schema.filters import Filter, Match
from retrieval.schema.records import CollectionMeta, Hit, Point, codes_of
from retrieval.search.calibration import distance_at
from retrieval.search.fields import check_fields
from retrieval.search.live import AliasFollower
from retrieval.search.options import K, SearchOptions
from retrieval.search.query import Query, Stored, stored_point
from retrieval.search.results import Result
from retrieval.search.run import BATCH, LiveCollection, PreparedQuery, make_results, prepare, prepare_one, recommend
from retrieval.sources import Source
from retrieval.sources.open import open_known
from retrieval.store import open_store
from retrieval.store.base import Store, dashboard_url, resolve
from retrieval.util.reporting import ReportCount, ReportNote, ReportStep, ignore

if TYPE_CHECKING:
    from retrieval.duplicates.groups import Group
    from retrieval.duplicates.job import DuplicateSummary
    from retrieval.gallery.rows import Row
    from retrieval.model.base_encoder import BaseEncoder
    from retrieval.ops.export import ExportSummary
    from retrieval.search.explain import Explanation
    from retrieval.search.outliers import Outlier

SOURCES_SECONDS = 60.0
"""Seconds that opened sources are kept: an archive may have been replaced, and an absent source may have come back."""


@dataclass(frozen=True, slots=True)
class CollectionStatus:
    """Facts about the live collection.

    collection: its name
    points: number of images
    dashboard: URL of its page in the engine's dashboard; None if there is none
    model_found: whether its model is on this machine
    """

    collection: str
    meta: CollectionMeta
    points: int
    dashboard: str | None
    model_found: bool


class Index:
    """The collection that an alias names, open for searching; use it as a context manager, or close it.

    Any number of processes can open it on a server; the embedded engine's folder belongs to one process at a time.
    All methods may be called from several threads. Each call uses the collection that is live then: after a swap, the
    new one.
    """

    def __init__(self, store: Store, settings: Settings, alias: str = DEFAULT_ALIAS) -> None:
        """Prefer `open`, which opens the store and closes it."""
        self.store, self.settings, self.alias = store, settings, alias
        self._follower = AliasFollower(store, alias, self._load)
        self._sources = OpenSources(settings)
        self._warm: str | None = None
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
        """Open the collection that an alias names; what is not given comes from the environment and `retrieval.toml`.

        model: must be the model that made the collection
        Raises NoCollection, ModelError for another model, StoreUnavailable, and Locked when another process has the
        embedded engine.
        """
        settings = settings or load_settings(home=home, qdrant_url=qdrant_url)
        with contextlib.ExitStack() as stack:
            store = stack.enter_context(open_store(settings))
            collection = resolve(store, alias)
            store.metadata(collection)  # opens it, so that damage is found now; other collections may be damaged
            if model is not None:
                model_of(store, collection, settings, model)
            index = cls(store, settings, alias)
            index._last = stack.pop_all()
        return index

    # Search.

    def search(
        self, /, image: ImageLike, k: int = K, *, where: "str | Filter | None" = None, **options: Any
    ) -> SearchHits:
        """The k images nearest to one, by Euclidean distance of their embeddings.

        where: a filter that hits must meet, as text in the language of `--where` or as a `Filter`
        options: as in `search.options.SearchOptions`
        Raises BadImage if the query is not an image, UsageError for invalid options.
        """
        (result,) = self._following.search([as_query(image)], self.options(k=k, where=where, **options))
        if result.refused is not None:
            raise BadImage(result.query.name, result.refused)
        return SearchHits(result, self.rows)

    def search_many(
        self, /, images: Iterable[ImageLike], k: int = K, *, where: "str | Filter | None" = None, **options: Any
    ) -> Iterator[SearchHits]:
        """As `search`, for many images in batches; for a query that is not an image, `note` is the reason."""
        for result in self.stream(map(as_query, images), self.options(k=k, where=where, **options)):
            yield SearchHits(result, self.rows)

    def like(
        self,
        /,
        like: Sequence[ImageLike],
        unlike: Sequence[ImageLike] = (),
        k: int = K,
        *,
        where: "str | Filter | None" = None,
        **options: Any,
    ) -> SearchHits:
        """Images more like some and less like others; distances are to the nearest of `like`."""
        chosen = self.options(k=k, where=where, **options)
        return SearchHits(self.recommend([*map(as_query, like)], [*map(as_query, unlike)], chosen), self.rows)

    def stream(self, queries: Iterable[Query | Stored], options: SearchOptions) -> Iterator[Result]:
        """Yield results in the order of the queries, searched in batches; there may be any number of queries."""
        queries = iter(queries)
        while batch := list(itertools.islice(queries, BATCH)):
            yield from self._following.search(batch, options)

    def recommend(
        self, like: Sequence[Query | Stored | PreparedQuery], unlike: Sequence[Query | Stored], options: SearchOptions
    ) -> Result:
        """As `like`, given queries."""
        return self._following.ask(lambda live: recommend(self.store, live, like, unlike, options))

    def prepare(self, query: Query | Stored) -> PreparedQuery:
        """The first half of a search: decode the image, or look up a stored embedding; loads no model.

        Encode images with `search.job.encode_all`, then call `search_prepared`.
        """
        return self._following.ask(lambda live: prepare_one(self.store, live, query))

    def search_prepared(
        self, items: Sequence[PreparedQuery], options: SearchOptions
    ) -> list[tuple[PreparedQuery, Result]]:
        """The second half of a search, for encoded queries of one collection, in one request to the engine.

        If that collection has been dropped meanwhile, its successor is searched, with the queries prepared again for
        it; the prepared queries that were used are returned.
        """
        first, queries = items[0].live, [item.query for item in items]

        def question(live: LiveCollection) -> list[tuple[PreparedQuery, Result]]:
            same = live.collection == first.collection
            asked = [item.asked for item in items] if same else prepare(self.store, live, queries)
            results = make_results(self.store, live, queries, asked, options)
            return [
                (PreparedQuery(live, query, each), result)
                for query, each, result in zip(queries, asked, results, strict=True)
            ]

        return self._following.ask(question, first)

    def options(self, *, where: "str | Filter | None" = None, **options: Any) -> SearchOptions:
        """Check the options; `where` may be text. Raises UsageError, also for a field that no image has."""
        return SearchOptions(where=self.filter(where), **options)

    def filter(self, where: "str | Filter | None", pages: int | None = None) -> Filter | None:
        """Parse a filter and check its fields. Raises UsageError for one that is malformed or names an unknown field.

        pages: of points to look at for the user's own fields (default: all)
        """
        chosen = parse(where) if isinstance(where, str) else where
        if chosen is not None:
            self._following.ask(lambda live: check_fields(self.store, live.collection, chosen, pages))
        return chosen

    # Whole-collection jobs.

    def explain(self, a: ImageLike, b: ImageLike) -> "Explanation":
        """Compare two images: distance, percentile, each one's rank for the other, and both reconstructions."""
        from retrieval.search.explain import explain

        return self._following.ask(lambda live: explain(self.store, live, [as_query(a), as_query(b)]))

    def duplicates(
        self,
        summary: "DuplicateSummary | None" = None,
        *,
        max_distance: float | None = None,
        max_percentile: float | None = None,
        step: ReportStep = ignore,
        note: ReportNote = ignore,
    ) -> "Iterator[Group]":
        """Groups of near-duplicates; without a limit, their pixels are compared to confirm them. Raises SourceError."""
        from retrieval.duplicates.job import DuplicateSummary, find_duplicates

        live = self.live()
        if max_percentile is not None:
            at = distance_at(live.meta, max_percentile)
            max_distance = min(max_distance if max_distance is not None else float("inf"), at or 0.0)
        yield from find_duplicates(
            self.store,
            live.collection,
            self.sources(),
            summary or DuplicateSummary(),
            max_distance=max_distance,
            step=step,
            note=note,
        )

    def outliers(self, limit: int = 50, *, report: ReportCount = ignore, note: ReportNote = ignore) -> "list[Outlier]":
        """The images that are farthest from the others or reconstructed worst, strongest outliers first."""
        from retrieval.search.outliers import find_outliers

        return find_outliers(self.store, self.live(), self.sources(), limit, report, note)

    def export(self, file: str | Path, *, where: str | Filter | None = None, images: bool = False) -> "ExportSummary":
        """Write ids, embeddings, payloads (and images: Parquet only) to a file; see `retrieval.ops.export.export`."""
        from retrieval.ops.export import export

        self.live()  # raises when the index is closed
        return export(self.store, self.alias, Path(file), where, images=self.sources() if images else None)

    # The collection and its images.

    def live(self) -> LiveCollection:
        """What the alias names now: collection, metadata, encoder. Raises NoCollection, and StoreError once closed."""
        return self._following.live()

    def current(self) -> LiveCollection:
        """As `live`, but a quarter of a second old at most, which spares the engine a request."""
        return self._following.current()

    def check(self) -> None:
        """Search for a zero embedding, to see whether the engine answers. Raises NoCollection, StoreUnavailable."""
        self.live()
        self._following.ask(lambda live: self.store.query(live.collection, np.zeros((1, live.meta.dim), np.float32), 1))

    def status(self) -> CollectionStatus:
        """Size, metadata and model of the live collection. Raises NoCollection, StoreUnavailable."""
        live = self.live()
        return CollectionStatus(
            collection=live.collection,
            meta=live.meta,
            points=self.store.count(live.collection),
            dashboard=dashboard_url(self.store, self.alias),
            model_found=saved_models.folder_of(self.settings.models, live.meta.model) is not None,
        )

    @property
    def engine(self) -> str:
        """`embedded` or `server`."""
        return self.store.engine

    def warm(self) -> None:
        """Load and compile the live collection's model, unless that has been done, so that searches need not wait.

        Raises NoCollection, ModelError.
        """
        live = self._following.current()
        if live.collection != self._warm:
            live.encoder.warm_up()
            self._warm = live.collection

    def is_warm(self) -> bool:
        """Whether the live collection's model has been loaded and compiled by `warm`."""
        last = self._warm
        return last is not None and self._following.current().collection == last

    def points(self, ids: Iterable[str]) -> dict[str, Point]:
        """Points by id, without their embeddings; ids that the collection does not hold are left out."""
        wanted = sorted(set(ids))
        return self._following.ask(lambda live: self.store.retrieve(live.collection, wanted))

    def with_content(self, sha256: str, limit: int) -> list[Point]:
        """At most `limit` points whose files have that SHA-256 (hex), in id order, without their embeddings."""
        same = Filter(must=(Match("sha256", (sha256,)),))

        def question(live: LiveCollection) -> list[Point]:
            return next(iter(self.store.scroll(live.collection, same, page=limit)), [])

        return self._following.ask(question)

    def sample(self, n: int) -> list[Point]:
        """At most n points chosen at random, different ones at each call, without their embeddings."""
        return self._following.ask(lambda live: self.store.sample(live.collection, n))

    def facets(self, fields: Iterable[str], limit: int) -> dict[str, dict[str, int]]:
        """For each indexed text field, its most frequent values and the number of images that have each."""
        names = list(fields)
        return self._following.ask(lambda live: {n: self.store.facet(live.collection, n, limit) for n in names})

    def sources(self) -> dict[str, Source]:
        """The collection's sources that can be opened, by name; once closed, those of the collection last seen."""
        live = self._follower.last if self._closed else self._following.current()
        return self._sources.of(live.meta.sources) if live else {}

    def image(self, of: Hit | Point) -> bytes:
        """The image file of a hit or a point, from where its source was last seen. Raises BadImage."""
        name, path = str(of.payload["source"]), str(of.payload["path"])
        source = self.sources().get(name)
        if source is None:
            raise BadImage(f"{name}/{path}", "its source is out of reach")
        return source.read(path)

    def read(self, query: Query | Stored) -> bytes:
        """The image file of a query. Raises BadImage, UsageError for a stored image that is not there."""
        if isinstance(query, Query):
            return query.read()
        if self._closed:
            raise BadImage(query.name, "its collection is closed")
        return self.image(self._following.ask(lambda live: stored_point(self.store, live.collection, query.name)))

    def reconstruct(self, ids: Sequence[str]) -> "dict[str, UInt8[np.ndarray, 'h w c']]":
        """Reconstructions of stored images from their embeddings, in [0, 255], by point id."""

        def question(live: LiveCollection) -> "dict[str, UInt8[np.ndarray, 'h w c']]":
            points = list(self.store.retrieve(live.collection, ids, codes=True).values())
            codes = codes_of(points).reshape(-1, live.meta.dim)
            return {point.id: pixels for point, pixels in zip(points, live.reconstruct(codes), strict=True)}

        return self._following.ask(question)

    def rows(self, results: Iterable[Result]) -> "list[Row]":
        """Results as rows of a gallery."""
        from retrieval.gallery.results import result_rows

        return result_rows(results, self.sources(), self.read)

    def close(self) -> None:
        """Close the engine; the images of earlier hits can still be shown."""
        self._closed = True
        self._last.close()

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _following(self) -> AliasFollower:
        """Follows the alias. Raises StoreError when the index is closed."""
        if not self._closed:
            return self._follower
        raise StoreError(f"the index of {self.alias!r} is closed", hint="open it again")

    def _load(self, fingerprint: str) -> "BaseEncoder":
        return make_lazy_encoder(
            self.settings, load_collection_model(self.settings, self.live().collection, fingerprint)
        )

    # Old names, kept for one release.
    reader = _following
    more_like = recommend
    picture = image


class OpenSources:
    """Opened sources, kept open between calls: opening an archive reads its whole directory."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._specs: dict[str, str] | None = None
        self._since = 0.0
        self._opened: dict[str, Source] = {}

    def of(self, specs: Mapping[str, str]) -> dict[str, Source]:
        """The sources that can be opened, by name; opened again when a spec changed or after SOURCES_SECONDS."""
        with self._lock:
            if self._specs != specs or time.monotonic() - self._since > SOURCES_SECONDS:
                self._opened = open_known(specs, self._settings)
                self._specs, self._since = dict(specs), time.monotonic()
            return self._opened
