"""Search one collection with many queries at a time, encoded by its model."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from retrieval.errors import UsageError
from retrieval.schema.arrays import Float32, UInt8
from retrieval.schema.filters import Filter, Match
from retrieval.schema.records import CollectionMeta, Hit
from retrieval.search.options import SearchOptions
from retrieval.search.query import MISSING, Query, Stored, find_stored
from retrieval.search.results import Result, is_far, postprocess
from retrieval.sources.read import Loaded, read_images
from retrieval.store.base import Store
from retrieval.store.filter_compiler import exclude

if TYPE_CHECKING:
    from retrieval.model.base_encoder import BaseEncoder

BATCH = 512
"""Queries encoded and sent together."""

Code = Float32[np.ndarray, " d"]


@dataclass(frozen=True)
class LiveCollection:
    """The collection that an alias names, and the encoder of its embeddings, loaded when first needed."""

    collection: str
    meta: CollectionMeta
    load: "Callable[[str], BaseEncoder]"

    @functools.cached_property
    def encoder(self) -> "BaseEncoder":
        """Raises ModelError when the model is not here."""
        return self.load(self.meta.model)

    def reconstruct(self, codes: Float32[np.ndarray, "n d"]) -> UInt8[np.ndarray, "n h w c"]:
        """Reconstructions of embeddings, u8 in [0, 255]."""
        pixels: UInt8[np.ndarray, "n h w c"] = np.rint(self.encoder.decode(codes) * 255).astype(np.uint8)
        return pixels


@dataclass(frozen=True, slots=True)
class EncodedQuery:
    """A query's embedding, the SHA-256 of its content (hex), and its pixels unless it is a stored image."""

    code: Code
    content: str
    pixels: UInt8[np.ndarray, "h w c"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PreparedQuery:
    """A query made ready for one collection.

    live: the collection
    query: where it came from, to prepare it again for another collection
    given: the decoded image; once encoded, its embedding; a text when it cannot be used, which says why
    """

    live: LiveCollection
    query: Query | Stored
    given: Loaded | EncodedQuery | str

    @property
    def asked(self) -> EncodedQuery | str:
        """Its embedding, or why there is none. An image must have been encoded."""
        assert not isinstance(self.given, Loaded)
        return self.given


def search(
    store: Store,
    live: LiveCollection,
    queries: Iterable[Query | Stored],
    options: SearchOptions = SearchOptions(),  # noqa: B008 - frozen
) -> Iterator[Result]:
    """Yield the k nearest images of each query, in the order of the queries.

    Images with the query's own content (SHA-256) are left out unless `include_self`. There are fewer than k hits if
    the collection holds fewer.

    queries: any number, even infinite; read BATCH at a time
    Raises NoCollection, and ModelError when a query must be encoded and the model is not on this machine.
    """
    queries = iter(queries)
    while batch := list(itertools.islice(queries, BATCH)):
        yield from search_batch(store, live, batch, options)


def search_batch(
    store: Store, live: LiveCollection, queries: Sequence[Query | Stored], options: SearchOptions
) -> list[Result]:
    """Search with one batch: all queries are encoded in one call and sent in one request."""
    return make_results(store, live, queries, prepare(store, live, queries), options)


def prepare_one(store: Store, live: LiveCollection, query: Query | Stored) -> PreparedQuery:
    """Decode the query's image, or look up the embedding of a stored one. Loads no model."""
    if isinstance(query, Stored):
        (stored,) = prepare(store, live, [query])
        return PreparedQuery(live, query, stored)
    (item,) = read_images([query.entry], live.meta.shape)
    return PreparedQuery(live, query, item if isinstance(item, Loaded) else item.reason)


def encode_all(items: Sequence[PreparedQuery]) -> list[PreparedQuery]:
    """Encode all decoded images in one call of the model; the other queries stay as they are.

    items: of one collection
    """
    images = [item.given for item in items if isinstance(item.given, Loaded)]
    codes = iter(encode_images(items[0].live, images) if images else ())
    return [replace(item, given=next(codes)) if isinstance(item.given, Loaded) else item for item in items]


def make_results(
    store: Store,
    live: LiveCollection,
    queries: Sequence[Query | Stored],
    asked: Sequence[EncodedQuery | str],
    options: SearchOptions,
) -> list[Result]:
    """The result of each query, given its embedding or the reason why it has none."""
    good = [item for item in asked if isinstance(item, EncodedQuery)]
    answers = iter(query_store(store, live.collection, good, options) if good else ())
    results = [
        Result(query, [], item) if isinstance(item, str) else postprocess(query, next(answers), live.meta, options)
        for query, item in zip(queries, asked, strict=True)
    ]
    return flag_no_match(live, results, asked)


def flag_no_match(live: LiveCollection, results: list[Result], asked: Sequence[EncodedQuery | str]) -> list[Result]:
    """Flag results whose query the decoder cannot reconstruct and whose hits are distant, as `no_match`.

    Only queries with distant hits are decoded, because decoding takes time.
    """
    far = [
        (number, item.pixels, item.code)
        for number, (result, item) in enumerate(zip(results, asked, strict=True))
        if not isinstance(item, str) and item.pixels is not None and not result.no_match and is_far(result)
    ]
    if far:
        missed = live.encoder.unexplained_variance(np.stack([p for _, p, _ in far]), np.stack([c for *_, c in far]))
        for (number, *_), share in zip(far, missed, strict=True):
            results[number] = replace(results[number], no_match=bool(share > 1))
    return results


def prepare(store: Store, live: LiveCollection, queries: Sequence[Query | Stored]) -> list[EncodedQuery | str]:
    """Each query's embedding, or why it has none."""
    stored = [query for query in queries if isinstance(query, Stored)]
    points = find_stored(store, live.collection, stored) if stored else {}
    asked: list[EncodedQuery | str] = [MISSING.format(live.collection)] * len(queries)
    loaded: list[tuple[int, Loaded]] = []
    waiting = [number for number, query in enumerate(queries) if isinstance(query, Query)]
    if waiting:
        entries = [query.entry for query in queries if isinstance(query, Query)]
        for number, item in zip(waiting, read_images(entries, live.meta.shape), strict=True):
            if isinstance(item, Loaded):
                loaded.append((number, item))
            else:
                asked[number] = item.reason
    if loaded:
        codes = encode_images(live, [item for _, item in loaded])
        for (number, _), code in zip(loaded, codes, strict=True):
            asked[number] = code
    for number, query in enumerate(queries):
        if isinstance(query, Stored) and query in points:
            point = points[query]
            assert point.code is not None
            asked[number] = EncodedQuery(point.code, str(point.payload["sha256"]))
    return asked


def encode_images(live: LiveCollection, images: Sequence[Loaded]) -> list[EncodedQuery]:
    """Embeddings of decoded images, in one call of the model."""
    codes = live.encoder.encode(np.stack([item.image.pixels for item in images]))
    return [EncodedQuery(code, item.sha256, item.image.pixels) for item, code in zip(images, codes, strict=True)]


def query_store(
    store: Store, collection: str, asked: Sequence[EncodedQuery], options: SearchOptions
) -> list[list[Hit]]:
    """The engine's hits of each query, filtered as the options say."""
    own = [() if options.include_self else (Match("sha256", (item.content,)),) for item in asked]
    filters = [exclude(options.where, *match) if match else options.where for match in own]
    if options.diverse:
        return [
            store.diverse(collection, item.code, options.k, where) for item, where in zip(asked, filters, strict=True)
        ]
    codes = np.stack([item.code for item in asked])
    return store.query(collection, codes, options.k, filters, distinct=None if options.keep_copies else "sha256")


def recommend(
    store: Store,
    live: LiveCollection,
    like: Sequence[Query | Stored | PreparedQuery],
    unlike: Sequence[Query | Stored],
    options: SearchOptions,
) -> Result:
    """Images more like some and less like others, by Qdrant's recommendation; the examples themselves are left out.

    Raises UsageError when an example cannot be used, or `like` is empty.
    """
    if not like:
        raise UsageError("at least one image is needed", option="like", hint="name an image that hits should be like")
    asked = prepare_examples(store, live, [*like, *unlike])
    liked = [each.query if isinstance(each, PreparedQuery) else each for each in like]
    for query, item in zip([*liked, *unlike], asked, strict=True):
        if isinstance(item, str):
            raise UsageError(f"{query.name}: {item}")
    good = [item for item in asked if isinstance(item, EncodedQuery)]
    codes = np.stack([item.code for item in good])
    contents = tuple(sorted({item.content for item in good}))
    where: Filter | None = options.where
    if not options.include_self:
        where = exclude(where, Match("sha256", contents))
    found = store.recommend(live.collection, codes[: len(like)], codes[len(like) :], options.k, where)
    names = " + ".join(query.name for query in liked) + "".join(f" − {query.name}" for query in unlike)
    query = Query.of(names, liked[0].read) if isinstance(liked[0], Query) else Stored(names)
    return postprocess(query, found, live.meta, options)


def prepare_examples(
    store: Store, live: LiveCollection, examples: Sequence[Query | Stored | PreparedQuery]
) -> list[EncodedQuery | str]:
    """As `prepare`; one that was prepared for this collection is not decoded again."""
    ready = [each for each in examples if isinstance(each, PreparedQuery) and each.live.collection == live.collection]
    encoded = dict(zip(map(id, ready), encode_all(ready), strict=True)) if ready else {}
    rest = [each.query if isinstance(each, PreparedQuery) else each for each in examples if id(each) not in encoded]
    others = iter(prepare(store, live, rest))
    return [encoded[id(each)].asked if id(each) in encoded else next(others) for each in examples]
