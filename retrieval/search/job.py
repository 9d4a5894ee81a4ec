"""Queries through one encoder and one collection, many at a time."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, UInt8

from retrieval.encode import Encoder
from retrieval.errors import UsageError
from retrieval.filters import Filter, Match
from retrieval.reading import Loaded, read_pictures
from retrieval.records import CollectionMeta, Hit
from retrieval.search.options import Options
from retrieval.search.query import MISSING, Query, Stored, find_stored
from retrieval.search.results import Result, clean, is_far
from retrieval.store.base import Store
from retrieval.store.conditions import without

BATCH = 512
"""Queries encoded and sent together."""

Code = Float32[np.ndarray, " d"]


@dataclass(frozen=True)
class Live:
    """A collection, and the encoder of its codes, made when the first picture needs it; they belong together."""

    collection: str
    meta: CollectionMeta
    load: Callable[[str], Encoder]

    @functools.cached_property
    def encoder(self) -> Encoder:
        """Raises ModelError when the model is not here."""
        return self.load(self.meta.model)


@dataclass(frozen=True, slots=True)
class Asked:
    """A query that can be asked: its code, its content's SHA-256 (hex), and its pixels where it is a picture."""

    code: Code
    content: str
    pixels: UInt8[np.ndarray, "h w c"] | None = None


def search(
    store: Store,
    live: Live,
    queries: Iterable[Query | Stored],
    options: Options = Options(),  # noqa: B008 - frozen
) -> Iterator[Result]:
    """The k nearest of each query in the collection, in the order of the queries, which may be without end.

    A picture with the query's own content (SHA-256) is left out unless `include_self`. Fewer than k hits when the
    collection holds fewer. Raises NoCollection, ModelError for a picture whose model is not here.
    """
    queries = iter(queries)
    while batch := list(itertools.islice(queries, BATCH)):
        yield from search_batch(store, live, batch, options)


def search_batch(store: Store, live: Live, queries: Sequence[Query | Stored], options: Options) -> list[Result]:
    """One batch: all usable queries through one encoding and one request."""
    return answer(store, live, queries, prepare(store, live, queries), options)


def answer(
    store: Store, live: Live, queries: Sequence[Query | Stored], asked: Sequence[Asked | str], options: Options
) -> list[Result]:
    """What the queries found, once each has its code, or why it has none."""
    good = [item for item in asked if isinstance(item, Asked)]
    answers = iter(answered(store, live.collection, good, options) if good else ())
    results = [
        Result(query, [], item) if isinstance(item, str) else clean(query, next(answers), live.meta, options)
        for query, item in zip(queries, asked, strict=True)
    ]
    return doubted(live, results, asked)


def doubted(live: Live, results: list[Result], asked: Sequence[Asked | str]) -> list[Result]:
    """The same results; one whose picture the model cannot draw, and whose hits are far, is `unlike`.

    Only pictures with far hits are looked at so, which costs a decoding.
    """
    far = [
        (number, item.pixels, item.code)
        for number, (result, item) in enumerate(zip(results, asked, strict=True))
        if not isinstance(item, str) and item.pixels is not None and not result.unlike and is_far(result)
    ]
    if far:
        missed = live.encoder.missed(np.stack([p for _, p, _ in far]), np.stack([c for *_, c in far]))
        for (number, *_), share in zip(far, missed, strict=True):
            results[number] = replace(results[number], unlike=bool(share > 1))
    return results


def prepare(store: Store, live: Live, queries: Sequence[Query | Stored]) -> list[Asked | str]:
    """Each query's code, or why it has none."""
    stored = [query for query in queries if isinstance(query, Stored)]
    points = find_stored(store, live.collection, stored) if stored else {}
    asked: list[Asked | str] = [MISSING.format(live.collection)] * len(queries)
    pictures: list[tuple[int, Loaded]] = []
    waiting = [number for number, query in enumerate(queries) if isinstance(query, Query)]
    if waiting:
        size, channels = live.meta.image_size, live.meta.channels
        entries = [query.entry for query in queries if isinstance(query, Query)]
        for number, item in zip(waiting, read_pictures(entries, size, channels), strict=True):
            if isinstance(item, Loaded):
                pictures.append((number, item))
            else:
                asked[number] = item.reason
    if pictures:
        codes = encoded(live, [item for _, item in pictures])
        for (number, _), code in zip(pictures, codes, strict=True):
            asked[number] = code
    for number, query in enumerate(queries):
        if isinstance(query, Stored) and query in points:
            point = points[query]
            assert point.code is not None
            asked[number] = Asked(point.code, str(point.payload["sha256"]))
    return asked


def encoded(live: Live, pictures: Sequence[Loaded]) -> list[Asked]:
    """Their codes, all in one call of the model."""
    codes = live.encoder.encode(np.stack([item.picture.pixels for item in pictures]))
    return [Asked(code, item.sha256, item.picture.pixels) for item, code in zip(pictures, codes, strict=True)]


def answered(store: Store, collection: str, asked: Sequence[Asked], options: Options) -> list[list[Hit]]:
    """The engine's hits for each query."""
    own = [() if options.include_self else (Match("sha256", (item.content,)),) for item in asked]
    filters = [without(options.where, *match) if match else options.where for match in own]
    if options.diverse:
        return [
            store.diverse(collection, item.code, options.k, where) for item, where in zip(asked, filters, strict=True)
        ]
    codes = np.stack([item.code for item in asked])
    return store.query(collection, codes, options.k, filters, distinct=None if options.keep_copies else "sha256")


def more_like(
    store: Store, live: Live, like: Sequence[Query | Stored], unlike: Sequence[Query | Stored], options: Options
) -> Result:
    """Pictures more like some and less like others, by Qdrant's recommendation; the examples themselves are left out.

    Raises UsageError when an example cannot be used, or `like` is empty.
    """
    if not like:
        raise UsageError("none is given, only images to be unlike", option="like", hint="name at least one")
    examples = [*like, *unlike]
    asked = prepare(store, live, examples)
    for query, item in zip(examples, asked, strict=True):
        if isinstance(item, str):
            raise UsageError(f"{query.name}: {item}")
    good = [item for item in asked if isinstance(item, Asked)]
    codes = np.stack([item.code for item in good])
    contents = tuple(sorted({item.content for item in good}))
    where: Filter | None = options.where
    if not options.include_self:
        where = without(where, Match("sha256", contents))
    found = store.recommend(live.collection, codes[: len(like)], codes[len(like) :], options.k, where)
    names = " + ".join(query.name for query in like) + "".join(f" − {query.name}" for query in unlike)
    query = Query.of(names, like[0].read) if isinstance(like[0], Query) else Stored(names)
    return clean(query, found, live.meta, options)
