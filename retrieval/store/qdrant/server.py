"""The server engine: the Qdrant server at `QDRANT_URL`, whether a single node, a cluster or the cloud."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from retrieval.schema.arrays import Float32
from retrieval.schema.filters import Filter
from retrieval.schema.records import Hit, Payload, Point
from retrieval.store.base import CANDIDATES, DIVERSITY, Codes, SearchParams, Server
from retrieval.store.qdrant.catalog import Catalog
from retrieval.store.qdrant.filters import server_filter
from retrieval.store.qdrant.index_config import search_params
from retrieval.store.topk import (
    drop_mismatches,
    find_topk,
    make_check,
    restrict_to,
    select_fields,
    sort_counts,
    split,
    take_matching,
)
from retrieval.store.validation import check_payloads, check_points, check_queries, split_payloads, split_points

IDS = 1000
"""Ids in one request."""
IDS_OF_FIELDS = 20_000
"""Ids in one request for fields; 20,000 in one take a quarter of the time of 1,000 at a time, on busy cores."""


class ServerStore(Catalog):
    """`Store` on a Qdrant server. Every write waits until it is applied."""

    engine = "server"

    @property
    def server(self) -> Server:
        """The store itself."""
        return self

    def check(self) -> None:
        """Count every collection that an alias points at; raises StoreUnavailable, StoreError for too old a server."""
        for collection in sorted({*self.aliases().values()}):
            self.count(collection)

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        """Write points; all of them are applied when it returns."""
        dim = self._dim(collection)
        check_points(points, dim)
        for batch in split_points(points, dim):
            columns = models.Batch(  # takes a quarter of the CPU time of a list of points
                ids=[p.id for p in batch],
                vectors=[[] if p.code is None else p.code.tolist() for p in batch],
                payloads=[p.payload for p in batch],
            )
            self._job(self._client.upsert, collection, columns, wait=True)

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        """Replace whole payloads by point id; raises StoreError for an id that is not there."""
        check_payloads(payloads)
        for chunk in split_payloads(payloads):
            writes = [
                models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(payload=payload, points=[id_]))
                for id_, payload in chunk
            ]
            self._job(self._client.batch_update_points, collection, writes, wait=True)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Remove points by id."""
        for chunk in split(ids, IDS):
            selector = models.PointIdsList(points=list(chunk))
            self._job(self._client.delete, collection, selector, wait=True)

    def retrieve(self, collection: str, ids: Sequence[str], *, codes: bool = False) -> dict[str, Point]:
        """Points by id; missing ids are not in the answer."""
        found = {}
        for chunk in split(ids, IDS):
            records = self._read(collection, "points", {"ids": list(chunk), "with_payload": True, "with_vector": codes})
            found.update({point.id: point for point in map(_point, records)})
        return found

    def retrieve_fields(self, collection: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, Payload]:
        """Some fields of payloads by point id; missing ids are not in the answer."""
        found: dict[str, Payload] = {}
        for chunk in split(ids, IDS_OF_FIELDS):
            request = {"ids": list(chunk), "with_payload": list(fields), "with_vector": False}
            found |= {point["id"]: point["payload"] or {} for point in self._read(collection, "points", request)}
        return found

    def scroll(
        self, collection: str, where: Filter | None = None, *, codes: bool = False, page: int = 1000
    ) -> Iterator[list[Point]]:
        """All points in id order, a page at a time."""
        native = server_filter(where)
        request: dict[str, Any] = {"limit": page, "with_payload": True, "with_vector": codes}
        if native.condition is not None:
            request["filter"] = native.condition.model_dump(exclude_none=True, mode="json")
        while True:
            answer = self._read(collection, "points/scroll", request)
            if found := drop_mismatches(map(_point, answer["points"]), where, native):
                yield found
            request["offset"] = answer["next_page_offset"]
            if request["offset"] is None:
                return

    def count(self, collection: str, where: Filter | None = None) -> int:
        """Exact number of points."""
        native = server_filter(where)
        if not native.exact:
            return sum(map(len, self.scroll(collection, where)))
        return self._job(self._client.count, collection, native.condition, exact=True).count

    def query(
        self,
        collection: str,
        codes: Float32[np.ndarray, "q d"],
        k: int,
        where: Sequence[Filter | None] | None = None,
        *,
        distinct: str | None = None,
        payload: bool = True,
        params: SearchParams = SearchParams(),  # noqa: B008 - frozen
    ) -> list[list[Hit]]:
        """The k nearest of each code, nearest first, ties by id."""
        filters = where or [None] * len(codes)
        check_queries(collection, codes, self._dim(collection), k, len(filters))
        native = [server_filter(each) for each in filters]
        meets = None if all(each.exact for each in native) else make_check(filters)
        send = select_fields(filters, distinct, meets, payload=payload)
        settings = search_params(self._layout(collection), params)

        def ask(queries: Sequence[int], limit: int) -> list[list[Hit]]:
            requests = [
                models.QueryRequest(
                    query=codes[i].tolist(),
                    limit=limit,
                    filter=native[i].condition,
                    with_payload=send,
                    params=settings,
                )
                for i in queries
            ]
            answers = self._connection.query(self._client.query_batch_points, collection, requests)
            return [[Hit(str(p.id), p.score, p.payload or {}) for p in answer.points] for answer in answers]

        return find_topk(ask, len(codes), k, distinct=distinct, meets=meets)

    def recommend(self, collection: str, like: Codes, unlike: Codes, k: int, where: Filter | None = None) -> list[Hit]:
        """By Qdrant's `best_score`."""
        examples = models.RecommendInput(
            positive=like.tolist(), negative=unlike.tolist(), strategy=models.RecommendStrategy.BEST_SCORE
        )
        return self._select(collection, models.RecommendQuery(recommend=examples), like, k, where)

    def diverse(
        self, collection: str, code: Float32[np.ndarray, " d"], k: int, where: Filter | None = None
    ) -> list[Hit]:
        """By Qdrant's maximal marginal relevance."""
        most = max(CANDIDATES, 10 * k)
        among = restrict_to(self.query(collection, code[None], most, [where], payload=False)[0])
        mmr = models.Mmr(diversity=DIVERSITY, candidates_limit=most)
        return self._select(collection, models.NearestQuery(nearest=code.tolist(), mmr=mmr), code[None], k, among)

    def sample(self, collection: str, n: int) -> list[Point]:
        """By the server's random sampling."""
        chance = models.SampleQuery(sample=models.Sample.RANDOM)
        answer = self._connection.query(self._client.query_points, collection, chance, limit=n, with_payload=True)
        return [Point(str(p.id), None, p.payload or {}) for p in answer.points]

    def facet(self, collection: str, field: str, limit: int) -> dict[str, int]:
        """Exact counts."""
        answer = self._connection.query(self._client.facet, collection, field, limit=limit, exact=True)
        return sort_counts({str(hit.value): hit.count for hit in answer.hits})

    def _select(self, collection: str, query: Any, like: Codes, k: int, where: Filter | None) -> list[Hit]:
        native = server_filter(where)
        check_queries(collection, like, self._dim(collection), k, len(like))

        def ask(limit: int) -> list[Point]:
            answer = self._connection.query(
                self._client.query_points,
                collection,
                query=query,
                limit=limit,
                query_filter=native.condition,
                with_payload=True,
                with_vectors=True,
                search_params=search_params(self._layout(collection), SearchParams()),
            )
            return [_point({"id": p.id, "vector": p.vector, "payload": p.payload}) for p in answer.points]

        return take_matching(ask, like, k, None if native.exact else where)

    def _read(self, collection: str, what: str, request: dict[str, Any]) -> Any:
        """The answer as plain JSON: the client's own methods validate each point's type, which doubles the time."""
        answer = self._job(
            self._client.http.client.request,
            type_=dict[str, Any],
            method="POST",
            url="/collections/{collection_name}/" + what,
            path_params={"collection_name": collection},
            json=request,
        )
        return answer["result"]


def _point(record: dict[str, Any]) -> Point:
    vector = record.get("vector")
    code = None if vector is None else np.asarray(vector, np.float32)
    return Point(str(record["id"]), code, record.get("payload") or {})
