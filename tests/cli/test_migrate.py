"""`retrieval migrate`: the same points on the other engine, whatever happens on the way, and the alias last."""

import dataclasses
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import NoCollection
from retrieval.schema.records import CollectionMeta, Hit, Point, point_id
from retrieval.store.base import Store, resolve
from retrieval.store.edge.engine import EdgeStore
from retrieval.store.edge.folder import read_json
from retrieval.store.qdrant.server import ServerStore
from tests.cli.conftest import PICTURES, Call, done_well
from tests.cli.test_interrupted import stop_when
from tests.store import servers
from tests.store.faults import PASS, Refuse, proxy

KEY = "the-key-of-the-old-server"
DIM, FEW, MANY = 16, 300, 12_000
META = CollectionMeta(
    model="4f1c2a9b00112233",
    dim=DIM,
    image_size=(28, 28),
    channels=1,
    created="2026-11-23T07:00:00Z",
    sources={"cats": "/somewhere/cats"},
    evaluation={"p@5": 0.98, "by_label": {"7": 0.9}},
)
COLLECTION = "images-20261123t070000z-4f1c2a9b"
Everything = dict[str, Point]


@pytest.fixture(scope="module")
def server(qdrant_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server of this module's own: it holds `images`, as a user's does."""
    with servers.running(tmp_path_factory.mktemp("migrate")) as url:
        yield url


@pytest.fixture
def url(server: str) -> str:
    """The server, emptied."""
    empty(server)
    return server


def empty(url: str) -> None:
    with closing(ServerStore(url)) as store:
        for collection in store.collections():
            store._client.delete_collection(collection)


def cats(count: int, first: int = 0) -> list[Point]:
    codes = np.random.default_rng(0).normal(size=(first + count, DIM)).astype(np.float32)[first:]
    return [
        Point(
            point_id("cats", f"{n}.png"),
            code,
            {
                "source": "cats",
                "path": f"{n}.png",
                "label": "größer als 7 🐈",
                "mtime_ns": 1_700_000_000_123_456_789 + n,
            },
        )
        for n, code in enumerate(codes, first)
    ]


def fill(store: Store, count: int, collection: str = COLLECTION) -> None:
    store.create_collection(collection, META)
    store.upsert(collection, cats(count))
    store.move_alias("images", collection)


@pytest.fixture
def embedded(own_home: Path) -> Path:
    """The embedded folder of this test's home, with FEW points behind `images`."""
    with closing(EdgeStore(own_home / "embedded")) as store:
        fill(store, FEW)
    return own_home / "embedded"


def everything(opened: Store, alias: str = "images") -> tuple[str, CollectionMeta, Everything]:
    """What is behind the alias; the store is closed."""
    with closing(opened) as store:
        collection = resolve(store, alias)
        pages = store.scroll(collection, codes=True)
        return collection, store.metadata(collection), {point.id: point for page in pages for point in page}


def assert_equal(one: Store, other: Store) -> None:
    """Both hold the same collection behind `images`, to the bit."""
    (*names, points), (*other_names, other_points) = everything(one), everything(other)
    assert names == other_names
    assert list(points) == list(other_points)
    for id_, point in points.items():
        assert point.payload == other_points[id_].payload
        np.testing.assert_array_equal(point.code, other_points[id_].code)


def aliases(url: str) -> dict[str, str]:
    with closing(ServerStore(url)) as store:
        return store.aliases()


def test_there_and_back_with_real_pictures(
    home: Path, url: str, pictures: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = next(pictures.glob("*/*.png"))
    expected = call("search", query, "--json").object["hits"]
    said = call("migrate", "--to", url, "--json").object
    assert (said["points"], said["copied"], said["deleted"]) == (PICTURES, PICTURES, 0)
    assert (said["alias"], said["from"], said["to"]) == ("images", str(home / "embedded"), url)
    assert_equal(EdgeStore(home / "embedded"), ServerStore(url))
    found = call("search", query, "--json", "--qdrant-url", url).object["hits"]
    assert [hit["id"] for hit in found] == [hit["id"] for hit in expected]

    monkeypatch.setenv("RETRIEVAL_HOME", str(home.with_name("back")))
    done = call("migrate", "--from", url)
    assert f"images → {said['collection']}: {PICTURES} points at {home.with_name('back')}" in done.out
    assert_equal(EdgeStore(home / "embedded"), EdgeStore(home.with_name("back") / "embedded"))


def test_a_second_run_copies_nothing_and_says_so(embedded: Path, url: str, call: Call) -> None:
    assert call("migrate", "--to", url, "--json").object["copied"] == FEW
    again = call("migrate", "--to", url, "--json").object
    assert (again["copied"], again["deleted"], again["points"]) == (0, 0, FEW)
    back = call("migrate", "--from", url, "--json").object
    assert (back["copied"], back["deleted"], back["points"]) == (0, 0, FEW)
    assert_equal(EdgeStore(embedded), ServerStore(url))


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_on_the_way_to_the_server(own_home: Path, url: str) -> None:
    with closing(EdgeStore(own_home / "embedded")) as store:
        fill(store, MANY)
    with closing(ServerStore(url)) as watcher:
        stop_when(lambda: on_server(watcher) >= 2000, signal.SIGKILL, own_home, "migrate", "--to", url)
        before = on_server(watcher)
        assert 2000 <= before < MANY, "it was to be killed in the middle"
        assert watcher.aliases() == {}
    said = done_well("migrate", "--to", url, "--json", home=own_home).object
    assert 0 < said["copied"] <= MANY - before  # the server may still have stored what it was being sent
    assert_equal(EdgeStore(own_home / "embedded"), ServerStore(url))


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_on_the_way_back(own_home: Path, url: str) -> None:
    with closing(ServerStore(url)) as store:
        fill(store, MANY)
    manifest = own_home / "embedded" / "collections" / COLLECTION / "manifest.json"
    stop_when(lambda: in_manifest(manifest) >= 2000, signal.SIGKILL, own_home, "migrate", "--from", url)
    with closing(EdgeStore(own_home / "embedded")) as store:
        assert 2000 <= store.count(COLLECTION) < MANY, "it was to be killed in the middle"
        assert store.aliases() == {}
    said = done_well("migrate", "--from", url, "--json", home=own_home).object
    assert 0 < said["copied"] <= MANY - 2000
    assert_equal(ServerStore(url), EdgeStore(own_home / "embedded"))


def on_server(store: ServerStore) -> int:
    try:
        return store.count(COLLECTION)
    except NoCollection:
        return 0


def in_manifest(file: Path) -> int:
    return int(read_json(file)["count"]) if file.exists() else 0


def lose_one(points: list[Point]) -> list[Point]:
    return points[1:]


def other_payload(points: list[Point]) -> list[Point]:
    return [dataclasses.replace(point, payload={**point.payload, "label": "?"}) for point in points]


def other_code(points: list[Point]) -> list[Point]:
    return [dataclasses.replace(point, code=np.nextafter(np.asarray(point.code), np.float32(9))) for point in points]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lose_one, [300, 299]),
        (other_payload, ["300 of 300"]),
        (other_code, ["of 300"]),
    ],
)
def test_what_does_not_read_back_gets_no_alias(
    damage: Callable[[list[Point]], list[Point]],
    named: list[object],
    embedded: Path,
    url: str,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = ServerStore.upsert
    with monkeypatch.context() as patch:
        patch.setattr(ServerStore, "upsert", lambda self, name, points: honest(self, name, damage(list(points))))
        call("migrate", "--to", url).error(1, COLLECTION, url, *named, "'images'")
    assert aliases(url) == {}
    assert call("migrate", "--to", url).code == 0
    assert_equal(EdgeStore(embedded), ServerStore(url))


def test_an_engine_that_measures_otherwise_gets_no_alias(
    embedded: Path, url: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ServerStore.query

    def squared(self: ServerStore, collection: str, codes: np.ndarray, k: int) -> list[list[Hit]]:
        answers = honest(self, collection, codes, k)
        return [[dataclasses.replace(hit, distance=hit.distance**2) for hit in hits] for hits in answers]

    monkeypatch.setattr(ServerStore, "query", squared)
    call("migrate", "--to", url).error(1, COLLECTION, url, "distances")
    assert aliases(url) == {}


def test_an_alias_that_points_elsewhere_is_moved_only_with_yes(embedded: Path, url: str, call: Call) -> None:
    other = "images-20260101t070000z-99999999"
    with closing(ServerStore(url)) as store:
        fill(store, 3, other)
    call("migrate", "--to", url).error(1, "'images'", url, other, "3 points", COLLECTION, "--yes")
    assert aliases(url) == {"images": other}
    assert call("migrate", "--to", url, "--yes").code == 0
    assert_equal(EdgeStore(embedded), ServerStore(url))
    with closing(ServerStore(url)) as store:
        assert store.count(other) == 3


def test_a_collection_in_use_is_overwritten_only_with_yes(embedded: Path, url: str, call: Call) -> None:
    assert call("migrate", "--to", url).code == 0
    changes: Sequence[Callable[[Store], None]] = (
        lambda store: store.upsert(COLLECTION, cats(1, 5000)),
        lambda store: store.set_payload(COLLECTION, {cats(1)[0].id: {"source": "cats", "path": "0.png"}}),
        lambda store: store.delete(COLLECTION, [cats(2)[1].id]),
        lambda store: store.set_metadata(COLLECTION, dataclasses.replace(META, evaluation={"p@5": 0.5})),
    )
    for change in changes:
        with closing(ServerStore(url)) as store:
            change(store)
        changed = everything(ServerStore(url))
        call("migrate", "--to", url).error(1, COLLECTION, url, "--yes")
        assert str(everything(ServerStore(url))) == str(changed)
        assert call("migrate", "--to", url, "--yes").code == 0
        assert_equal(EdgeStore(embedded), ServerStore(url))


def test_an_alias_that_another_job_writes_to(embedded: Path, url: str, call: Call) -> None:
    with closing(ServerStore(url)) as other, other.lock("images"):
        call("migrate", "--to", url).error(4, "alias 'images'", url, f"pid {os.getpid()}")
        assert other.collections() == []
    assert call("migrate", "--to", url).code == 0


def test_a_server_that_refuses_in_the_middle(own_home: Path, url: str, call: Call) -> None:
    with closing(EdgeStore(own_home / "embedded")) as store:
        fill(store, 2500)
    before = str(everything(EdgeStore(own_home / "embedded")))
    with proxy(url) as between:
        full = Refuse(400, body=b'{"status": {"error": "No space left on device"}}')
        between.fail(f"{COLLECTION}/points", *[PASS] * 4, full)
        call("migrate", "--to", between.url).error(1, between.url, "No space left on device")
    assert aliases(url) == {}
    assert str(everything(EdgeStore(own_home / "embedded"))) == before
    assert 0 < call("migrate", "--to", url, "--json").object["copied"] < 2500
    assert_equal(EdgeStore(own_home / "embedded"), ServerStore(url))


def test_a_disk_that_is_full_on_the_way_back(
    own_home: Path, url: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(ServerStore(url)) as store:
        fill(store, FEW)
    free = [2**40, 2**20]  # enough to begin with
    usage = shutil.disk_usage("/")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free.pop(0) if len(free) > 1 else free[0]))
        call("migrate", "--from", url).error(1, own_home, "MiB")
    assert aliases(url) == {"images": COLLECTION}
    with closing(EdgeStore(own_home / "embedded")) as store:
        assert store.aliases() == {}
    assert call("migrate", "--from", url).code == 0
    assert_equal(ServerStore(url), EdgeStore(own_home / "embedded"))


def test_from_server_to_server_each_with_its_own_key(
    url: str, qdrant_binary: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "of-the-new-server")  # which does not mind
    with servers.running(tmp_path / "old", QDRANT__SERVICE__API_KEY=KEY) as old:
        with closing(ServerStore(old, KEY)) as store:
            fill(store, FEW)
        call("migrate", "--from", old, "--to", url).error(1, old, 401, "QDRANT_FROM_API_KEY")
        monkeypatch.setenv("QDRANT_FROM_API_KEY", KEY)
        said = call("migrate", "--from", old, "--to", url, "--json")
        assert (said.object["from"], said.object["to"], said.object["copied"]) == (old, url, FEW)
        assert KEY not in said.out
        assert_equal(ServerStore(old, KEY), ServerStore(url))


def test_an_empty_collection(own_home: Path, url: str, call: Call) -> None:
    with closing(EdgeStore(own_home / "embedded")) as store:
        fill(store, 0)
    assert call("migrate", "--to", url, "--json").object["points"] == 0
    assert_equal(EdgeStore(own_home / "embedded"), ServerStore(url))


def test_wrong_usage(embedded: Path, url: str, call: Call) -> None:
    call("migrate").error(2, "--to URL")
    call("migrate", "--from", url, "--to", f"{url}/").error(2, "--from", "--to", url)
    call("migrate", "--to", url, "--alias", "other").error(1, "'other'")
    assert aliases(url) == {}
