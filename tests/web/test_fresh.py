"""A service that runs for months sees what ingests write of its collection meanwhile, without a swap."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval.api import Index
from retrieval.errors import StoreUnavailable
from retrieval.search import live
from retrieval.search.live import AliasFollower
from retrieval.store.base import Store
from tests.cli.conftest import Ingested, copy, done_well
from tests.store.conftest import ENGINES, clean, meta, name, open_engine, store  # noqa: F401 - fixtures
from tests.web.serving import Served, serving, settings_of, until

ALIAS = "test-fresh"
SOME = 60
URL = "http://127.0.0.1:8123"
SECONDS = 20


@pytest.fixture(params=ENGINES)
def beside(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Where the collection is."""
    url = request.getfixturevalue("qdrant_url") if request.param == "server" else None
    yield url
    if url:
        clean(url)


def test_metadata_written_beside_it_are_seen_and_the_encoder_stays(
    ingested: Ingested,
    pictures: Path,
    beside: str | None,
    own_home: Path,
    tmp_path: Path,
    digit: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "META_SECONDS", 0.2)
    home, environment = copy(ingested.home, own_home), {"QDRANT_URL": beside or ""}
    old, new = tmp_path / "old" / "pictures", tmp_path / "new" / "pictures"
    for file in sorted(pictures.rglob("*.png"))[:SOME]:
        (old / file.relative_to(pictures)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, old / file.relative_to(pictures))
    done_well("ingest", old, "--alias", ALIAS, home=home, env=environment)
    with serving(settings_of(home, beside), alias=ALIAS) as service:
        service.ready()
        before = service.index.live()
        assert (before.meta.neighbours_of, before.meta.public_url) == (SOME, None)
        hit = searched(service, digit)[0]
        assert shown(service, hit["id"])

        old.parent.rename(new.parent)
        shutil.copytree(pictures, new, dirs_exist_ok=True)
        assert not shown(service, hit["id"]), "its root is gone"
        done_well("ingest", new, "--alias", ALIAS, "--public-url", URL, home=home, env=environment)

        until(lambda: shown(service, hit["id"]), SECONDS)
        after = service.index.live()
        assert after.collection == before.collection
        assert (after.meta.neighbours_of, after.meta.public_url) == (200, URL)
        assert after.meta.sources == {"pictures": str(new)}
        assert after.encoder is before.encoder, "what is costly is kept"
        with Index.open(ALIAS, settings=settings_of(home, beside)) as fresh:
            expected = [hit.percentile for hit in fresh.search(digit)]
        assert [hit["percentile"] for hit in searched(service, digit)] == expected


def searched(service: Served, digit: bytes) -> list[dict[str, Any]]:
    answer = service.client.post("/api/search", files={"image": digit})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["hits"])


def shown(service: Served, id_: str) -> bool:
    """Whether there is a picture; a placeholder is never to be stored."""
    return service.client.get(f"/images/{id_}.png").headers["cache-control"] != "no-store"


def test_an_engine_that_cannot_say_now_is_searched_by_what_it_said(
    store: Store,  # noqa: F811
    name: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "META_SECONDS", 0.0)
    store.create_collection(name, meta())
    store.move_alias(f"{name}-alias", name)
    reader = AliasFollower(store, f"{name}-alias", lambda model: pytest.fail("nobody encodes"))
    known = reader.live()

    def silent(collection: str) -> None:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(store, "metadata", silent)
        assert reader.live().meta == known.meta
        with pytest.raises(StoreUnavailable):
            AliasFollower(store, f"{name}-alias", reader._load).live()
    assert reader.live().meta == known.meta
