"""Layouts on a real server: created, changed and searched."""

import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import numpy as np
import pytest
from qdrant_client import models

from retrieval.reindex.candidate import CALM, wait_until_settled
from retrieval.schema.image_shape import ImageShape
from retrieval.schema.index_config import DEFAULT, GRAPH_FROM, Layout
from retrieval.schema.records import CollectionMeta
from retrieval.store.base import INDEXES, SearchParams
from retrieval.store.qdrant.index_config import search_params
from retrieval.store.qdrant.server import ServerStore
from tests.store.conftest import clean, codes, connected, meta, points


@pytest.fixture
def server(qdrant_url: str) -> Iterator[ServerStore]:
    with connected(qdrant_url) as store:
        yield store
    clean(qdrant_url)


def config(store: ServerStore, name: str) -> dict[str, dict[str, object]]:
    answer = httpx.get(f"{store.location}/collections/{name}", timeout=10).raise_for_status()
    return dict(answer.json()["result"]["config"])


def test_the_default_is_one_copy_of_one_part(server: ServerStore, name: str) -> None:
    server.create_collection(name, meta())
    params = config(server, name)["params"]
    names = ("shard_number", "replication_factor", "write_consistency_factor")
    assert [params[each] for each in names] == [1, 1, 1]
    assert config(server, name)["hnsw_config"]["m"] == 16
    assert config(server, name)["quantization_config"] is None


def test_the_requested_layout_is_created(server: ServerStore, name: str) -> None:
    layout = Layout(shards=3, m=24, ef_construct=77, ef=99, int8=True)
    server.create_collection(name, replace(meta(), layout=layout))
    made = config(server, name)
    assert made["params"]["shard_number"] == 3
    assert made["params"]["vectors"]["on_disk"] is True  # type: ignore[index]
    assert (made["hnsw_config"]["m"], made["hnsw_config"]["ef_construct"]) == (24, 77)
    assert made["quantization_config"]["scalar"] == {"type": "int8", "quantile": 0.99, "always_ram": True}
    assert server.metadata(name).layout == layout


def test_payload_indexes_are_on_disk(server: ServerStore, name: str) -> None:
    server.create_collection(name, meta())
    schema = httpx.get(f"{server.location}/collections/{name}", timeout=10).json()["result"]["payload_schema"]
    assert {field: each["params"]["on_disk"] for field, each in schema.items()} == dict.fromkeys(INDEXES, True)


@pytest.mark.parametrize(
    "layout", [Layout(exact=True), Layout(m=8, ef=64), Layout(int8=True), Layout(on_disk=True), DEFAULT], ids=str
)
def test_every_layout_gives_the_true_neighbours_of_few(server: ServerStore, name: str, layout: Layout) -> None:
    server.create_collection(name, meta())
    stored = codes(300)
    server.upsert(name, points(stored))
    server.rebuild_index(name, layout)
    end = time.monotonic() + 60
    while not server.health(name).settled:
        assert time.monotonic() < end
        time.sleep(0.1)
    queries = codes(5, seed=1)
    found = [[hit.distance for hit in hits] for hits in server.query(name, queries, 5)]
    true = np.sort(np.linalg.norm(stored - queries[:, None], axis=2))[:, :5]
    np.testing.assert_allclose(found, true, rtol=1e-5)
    assert server.metadata(name).layout == layout


def test_a_layout_survives_as_json() -> None:
    layout = Layout(shards=3, replicas=2, m=32, ef=128, int8=True)
    assert layout.to_json() == {"shards": 3, "replicas": 2, "m": 32, "ef": 128, "int8": True}
    assert Layout.from_json(layout.to_json()) == layout
    old = {key: value for key, value in meta().to_json().items() if key != "layout"}
    assert CollectionMeta.from_json("made-before", old).layout == DEFAULT


def test_metadata_names_the_fit_only_if_images_are_cropped() -> None:
    assert "fit" not in meta().to_json()
    assert CollectionMeta.from_json("stretched", meta().to_json()).shape == ImageShape(28, 28, 1)
    cropped = replace(meta(), fit="crop")
    assert CollectionMeta.from_json("cropped", cropped.to_json()) == cropped
    assert cropped.shape == ImageShape(28, 28, 1, "crop")


def test_no_index_during_a_bulk_load(server: ServerStore, name: str) -> None:
    server.create_collection(name, meta())
    usual = config(server, name)["optimizer_config"]["indexing_threshold"]
    server.defer_indexing(name)
    assert config(server, name)["optimizer_config"]["indexing_threshold"] == 0
    server.upsert(name, points(codes(3)))
    assert server.resume_indexing(name) is False, "of so few none is made"
    assert config(server, name)["optimizer_config"]["indexing_threshold"] == usual != 0


def test_thousands_of_codes_get_a_graph_by_default(server: ServerStore, name: str) -> None:
    server.create_collection(name, meta())
    server.defer_indexing(name)
    server.upsert(name, points(codes(3 * GRAPH_FROM)))
    assert server.resume_indexing(name) is True
    wait_until_settled(server, name, CALM)
    assert server.describe(name)["indexed"] > 0


def test_search_parameters_override_the_layout(server: ServerStore, name: str) -> None:
    layout = Layout(ef=99, int8=True)
    server.create_collection(name, replace(meta(), layout=layout))
    usual, other = search_params(layout, SearchParams()), search_params(layout, SearchParams(exact=True, ef=16))
    assert (usual.exact, usual.hnsw_ef, other.exact, other.hnsw_ef) == (None, 99, True, 16)
    assert usual.quantization == other.quantization is not None
    assert search_params(Layout(exact=True), SearchParams(exact=False)).exact is None
    asked: list[models.QueryRequest] = []
    honest = server._client.query_batch_points

    def note(collection: str, requests: list[models.QueryRequest]) -> list[models.QueryResponse]:
        asked.extend(requests)
        return honest(collection, requests)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server._client, "query_batch_points", note)
        server.query(name, codes(1), 1, params=SearchParams(ef=7))
    assert [request.params and request.params.hnsw_ef for request in asked] == [7]
    assert server.metadata(name).layout == layout, "the collection stays as it was"
