"""`retrieval forget`: what would go is shown, then the points go, and the record last; killed, it can be run again."""

# ruff: noqa: F811 - fixtures are asked for by the names under which they were imported

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from retrieval.config import Settings
from retrieval.errors import StoreUnavailable
from retrieval.ingest.forget import forget
from retrieval.store import open_store
from retrieval.store.base import Store, resolve
from tests.cli.conftest import Call
from tests.ingest.conftest import digits, homes, model_home, place  # noqa: F401 - fixtures, of both engines
from tests.ingest.jobs import Place, make_digits

KEPT, GONE = 12, 8


@pytest.fixture
def filled(place: Place, call: Call, tmp_path: Path) -> Place:
    """Two sources, each with a picture that was refused."""
    for source, count in (("kept", KEPT), ("trip", GONE)):
        folder = make_digits(tmp_path / source, count)
        (folder / "bad.png").write_bytes(b"no picture")
        assert call("ingest", folder, "--labels", "folder", *place.options()).code == 3
    return place


def sources(place: Place) -> set[str]:
    return {str(point.payload["source"]) for point in place.points().values()}


def refused(place: Place) -> list[str]:
    (ledger,) = (place.home / "refused").glob("*")
    return [json.loads(line)["source"] for line in ledger.read_text("utf-8").splitlines()]


def test_a_retired_source_goes(filled: Place, call: Call, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "trip")
    options = filled.options()
    for command in (["reindex"], ["ingest", tmp_path / "trip", "--name", "trip", "--prune", "--yes"]):
        following = "" if filled.url is None else f" --alias {filled.alias}"
        assert call(*command, *options).error().endswith(f" retrieval forget trip{following}")
    call("forget", "trip", *options).error(2, 8, "--yes")
    done = call("forget", "trip", "--dry-run", *options)
    assert done.code == 0
    assert f"8 points of trip, last seen at {tmp_path / 'trip'}" in done.out
    assert done.out.count("to remove: trip/") == 5
    assert "to remove: 3 more" in done.out
    assert "nothing was changed" in done.out
    said = call("forget", "trip", "--dry-run", "--json", *options).object
    assert (said["points"], said["done"], len(said["examples"])) == (GONE, False, 5)
    assert (sources(filled), sorted(refused(filled))) == ({"kept", "trip"}, ["kept", "trip"])
    said = call("forget", "trip", "--yes", "--json", *options).object
    assert (said["points"], said["done"], said["root"]) == (GONE, True, str(tmp_path / "trip"))
    assert (sources(filled), refused(filled), filled.stored) == ({"kept"}, ["kept"], KEPT)
    call("forget", "trip", "--yes", *options).error(2, "trip", filled.alias, "kept")
    assert call("ingest", tmp_path / "kept", "--prune", "--yes", *options).code == 3


def test_killed_in_the_middle_it_can_be_run_again(filled: Place, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=filled.home, qdrant_url=filled.url)
    monkeypatch.setattr("retrieval.ingest.forget.DELETE", 3)
    with open_store(settings) as store:
        before, calls = type(store).delete, []

        def delete(self: Store, collection: str, ids: list[str]) -> None:
            calls.append(len(ids))
            if len(calls) == 2:
                raise StoreUnavailable("killed")
            before(self, collection, ids)

        with monkeypatch.context() as patch:
            patch.setattr(type(store), "delete", delete)
            with pytest.raises(StoreUnavailable):
                forget(store, filled.alias, "trip", settings.refused)
        meta = store.metadata(resolve(store, filled.alias))
        assert meta.sources.keys() == meta.roots.keys() == {"kept", "trip"}
    assert filled.stored == KEPT + GONE - 3
    assert call("forget", "trip", "--yes", "--json", *filled.options()).object["points"] == GONE - 3
    assert sources(filled) == {"kept"}
    with open_store(settings) as store:
        meta = store.metadata(resolve(store, filled.alias))
        assert meta.sources.keys() == meta.roots.keys() == set(meta.labelled) == {"kept"}


def test_what_a_killed_reindex_left_forgets_it_too(filled: Place, call: Call) -> None:
    settings = Settings(home=filled.home, qdrant_url=filled.url)
    with open_store(settings) as store:
        live = resolve(store, filled.alias)
        left = f"{filled.alias}-29991231t000000z-00000000"
        meta = store.metadata(live)
        store.create_collection(left, dataclasses.replace(meta, state="filling"))
        store.upsert(left, [point for page in store.scroll(live, codes=True) for point in page])
    assert call("forget", "trip", "--yes", *filled.options()).code == 0
    with open_store(settings) as store:
        assert store.count(left) == store.count(live) == KEPT
        assert store.metadata(left).sources.keys() == {"kept"}
