"""The embedded engine: Qdrant Edge in this process. A collection is one shard of Edge."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import qdrant_edge as edge

from retrieval.schema.arrays import Float32
from retrieval.schema.filters import Filter
from retrieval.schema.records import Hit, Payload, Point
from retrieval.store.base import CANDIDATES, DIVERSITY, Codes, CollectionHealth, SearchParams
from retrieval.store.edge.catalog import EdgeCatalog
from retrieval.store.edge.filters import edge_filter
from retrieval.store.edge.held import CHUNK as HELD_CHUNK
from retrieval.store.edge.held import TOGETHER
from retrieval.store.topk import (
    CHUNK,
    drop_mismatches,
    find_topk,
    make_check,
    restrict_to,
    select_fields,
    sort_counts,
    take_matching,
)
from retrieval.store.validation import check_payloads, check_points, check_queries


class EdgeStore(EdgeCatalog):
    """`Store` on a folder."""

    engine = "embedded"
    server: None = None

    def health(self, collection: str) -> CollectionHealth:
        """A collection that can be opened and searched is whole; raises StoreDamaged."""
        self.query(collection, np.zeros((1, self.metadata(collection).dim), np.float32), 1)
        return CollectionHealth(settled=True)

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        """Write points; all of them are synced to disk when it returns."""
        shard = self._shard(collection)
        check_points(points, shard.meta.dim)
        shard.upsert(points)

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        """Replace whole payloads by point id; raises StoreError for an id that is not there."""
        check_payloads(payloads)
        self._shard(collection).set_payloads(dict(payloads))

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Remove points by id."""
        self._shard(collection).delete(ids)

    def retrieve(self, collection: str, ids: Sequence[str], *, codes: bool = False) -> dict[str, Point]:
        """Points by id; missing ids are not in the answer."""
        shard = self._shard(collection)
        with shard.reading():
            return {p.id: p for p in map(_point, shard.edge.retrieve(list(ids), True, codes))}

    def retrieve_fields(self, collection: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, Payload]:
        """Some fields of payloads by point id; missing ids are not in the answer."""
        shard = self._shard(collection)
        with shard.reading():
            return {str(p.id): p.payload or {} for p in shard.edge.retrieve(list(ids), list(fields), False)}

    def scroll(
        self, collection: str, where: Filter | None = None, *, codes: bool = False, page: int = 1000
    ) -> Iterator[list[Point]]:
        """All points in id order, a page at a time."""
        shard, native, start = self._shard(collection), edge_filter(where), None
        while True:
            request = edge.ScrollRequest(
                offset=start, limit=page, filter=native.condition, with_payload=True, with_vector=codes
            )
            with shard.reading():
                records, start = shard.edge.scroll(request)
            if found := drop_mismatches(map(_point, records), where, native):
                yield found
            if start is None:
                return

    def count(self, collection: str, where: Filter | None = None) -> int:
        """Exact number of points."""
        native = edge_filter(where)
        if not native.exact:
            return sum(map(len, self.scroll(collection, where)))
        return self._shard(collection).count(native.condition)

    def query(
        self,
        collection: str,
        codes: Float32[np.ndarray, "q d"],
        k: int,
        where: Sequence[Filter | None] | None = None,
        *,
        distinct: str | None = None,
        payload: bool = True,
        params: SearchParams = SearchParams(),  # noqa: ARG002, B008 - every search is exact; frozen
    ) -> list[list[Hit]]:
        """The k nearest of each code, exactly, nearest first, ties by id. Many codes are searched in memory."""
        shard, filters = self._shard(collection), where or [None] * len(codes)
        check_queries(collection, codes, shard.meta.dim, k, len(filters))
        native = [edge_filter(each) for each in filters]
        meets = None if all(each.exact for each in native) else make_check(filters)
        send = select_fields(filters, distinct, meets, payload=payload)

        held = shard.held() if all(each.condition is None for each in native) and len(codes) >= TOGETHER else None

        def ask(queries: Sequence[int], limit: int) -> list[list[Hit]]:
            if held:
                with shard.reading():
                    found = held.query(shard.edge, codes[list(queries)], limit, send)
                if found is not None:
                    return found
            requests = [
                edge.QueryRequest(
                    limit=limit,
                    query=edge.Query.Nearest(codes[i].tolist()),
                    filter=native[i].condition,
                    with_payload=send,
                )
                for i in queries
            ]
            with shard.reading():
                answers = shard.edge.query_batch(edge.QueryBatchRequest(requests))
            return [[Hit(str(p.id), p.score, p.payload or {}) for p in answer] for answer in answers]

        return find_topk(ask, len(codes), k, distinct=distinct, meets=meets, chunk=HELD_CHUNK if held else CHUNK)

    def recommend(self, collection: str, like: Codes, unlike: Codes, k: int, where: Filter | None = None) -> list[Hit]:
        """By Edge's `best_score`."""
        query = edge.Query.RecommendBestScore(edge.RecommendQuery(like.tolist(), unlike.tolist()))
        return self._select(collection, query, like, k, where)

    def diverse(
        self, collection: str, code: Float32[np.ndarray, " d"], k: int, where: Filter | None = None
    ) -> list[Hit]:
        """By Edge's maximal marginal relevance."""
        most = max(CANDIDATES, 10 * k)
        among = restrict_to(self.query(collection, code[None], most, [where], payload=False)[0])
        return self._select(collection, edge.Mmr(code.tolist(), 1 - DIVERSITY, most), code[None], k, among)

    def sample(self, collection: str, n: int) -> list[Point]:
        """By Edge's random sampling."""
        shard = self._shard(collection)
        request = edge.QueryRequest(limit=n, query=edge.Sample.Random, with_payload=True)
        with shard.reading():
            return [_point(record) for record in shard.edge.query(request)]

    def facet(self, collection: str, field: str, limit: int) -> dict[str, int]:
        """Exact counts."""
        shard = self._shard(collection)
        with shard.reading():
            hits = shard.edge.facet(edge.FacetRequest(field, limit=limit, exact=True)).hits
        return sort_counts({str(hit.value): hit.count for hit in hits})

    def _select(self, collection: str, query: Any, like: Codes, k: int, where: Filter | None) -> list[Hit]:
        shard, native = self._shard(collection), edge_filter(where)
        check_queries(collection, like, shard.meta.dim, k, len(like))

        def ask(limit: int) -> list[Point]:
            request = edge.QueryRequest(
                limit=limit, query=query, filter=native.condition, with_payload=True, with_vector=True
            )
            with shard.reading():
                return [_point(record) for record in shard.edge.query(request)]

        return take_matching(ask, like, k, None if native.exact else where)


def _point(record: edge.Record | edge.ScoredPoint) -> Point:
    code = None if record.vector is None else np.asarray(record.vector, np.float32)
    return Point(str(record.id), code, record.payload or {})
