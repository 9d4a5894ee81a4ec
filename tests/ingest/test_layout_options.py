"""--shards and similar options apply to a new collection, not to an existing one, and can change at a re-index."""

from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Call
from tests.ingest.jobs import Place, make_digits


@pytest.mark.parametrize("place", ["server"], indirect=True)
def test_a_collection_is_spread_as_was_asked_and_stays_so(place: Place, call: Call, tmp_path: Path) -> None:
    digits = make_digits(tmp_path / "digits", 30)

    def shards() -> int:
        answer = httpx.get(f"{place.url}/collections/{place.alias}", timeout=10).raise_for_status()
        return int(answer.json()["result"]["config"]["params"]["shard_number"])

    assert call("ingest", digits, "--shards", 2, *place.options()).code == 0
    assert shards() == 2
    assert call("ingest", digits, "--shards", 2, *place.options()).code == 0
    call("ingest", digits, "--shards", 3, *place.options()).error(
        2, 2, "retrieval reindex --shards 3", option="--shards"
    )
    assert call("reindex", *place.options()).code == 0
    assert shards() == 2
    assert call("reindex", "--shards", 3, *place.options()).code == 0
    assert shards() == 3


@pytest.mark.parametrize("place", ["embedded"], indirect=True)
def test_the_embedded_engine_has_no_parts(place: Place, call: Call, tmp_path: Path) -> None:
    digits = make_digits(tmp_path / "digits", 3)
    call("ingest", digits, "--shards", 2, "--replicas", 2, *place.options()).error(2, "QDRANT_URL", option="--shards")
    assert place.stored == -1
