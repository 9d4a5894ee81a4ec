"""Users' fields survive a resumed re-index, and a rollback."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.errors import StoreError, StoreUnavailable
from retrieval.images.decode import encode_png
from retrieval.ingest.job import ingest
from retrieval.ingest.options import IngestOptions
from retrieval.reindex.job import reindex
from retrieval.reindex.options import ReindexOptions
from retrieval.reindex.rollback import rollback
from retrieval.schema.records import Payload, Point
from retrieval.sources.folder import Folder
from retrieval.store.base import Store, resolve
from tests.cli.conftest import Call
from tests.errors import mentions, raises
from tests.reindex.conftest import NEW, OLD, WIDE
from tests.reindex.encoders import SIDE, Shades
from tests.reindex.places import PICTURES, Place

URL = "http://127.0.0.1:8000"


def captions(root: Path, text: str = "caption of") -> dict[tuple[str, str], Payload]:
    """A row of a metadata file for each image."""
    keys = [file.relative_to(root).as_posix() for file in sorted(root.rglob("*.png"))]
    return {("pictures", key): {"caption": f"{text} {key}"} for key in keys}


def say(store: Store, place: Place, root: Path, encoder: Shades = OLD, **options: Any) -> None:
    """Ingest the images again, with the user's fields of now."""
    source = Folder("pictures", root, labels=True)
    ingest(store, encoder, [source], place.alias, IngestOptions(**options), ledgers=place.settings.refused)


def payloads(store: Store, place: Place) -> dict[str, Payload]:
    """Fields of the live collection's images, by key."""
    return payloads_of(store, resolve(store, place.alias))


def payloads_of(store: Store, collection: str) -> dict[str, Payload]:
    """By key."""
    pages = store.scroll(collection)
    return {point.payload["path"]: point.payload for page in pages for point in page}


def complete(store: Store, place: Place, root: Path) -> None:
    """Check that every image has its caption, its label and its URL."""
    found = payloads(store, place)
    assert len(found) == len(list(root.rglob("*.png")))
    assert {key: payload.get("caption") for key, payload in found.items()} == {
        key: row["caption"] for (_, key), row in captions(root).items()
    }
    assert all(payload["label"] == key.split("/")[0] for key, payload in found.items())
    assert all(payload.get("image_url", "").startswith(f"{URL}/images/") for payload in found.values())


@pytest.mark.parametrize("left_by", ["a dry run", "a kill"])
def test_what_was_written_since_the_new_collection_was_begun(left_by: str, place: Place, root: Path) -> None:
    if left_by == "a kill":
        place.killed("settle", seed=2)
    else:
        with place.opened() as store:
            reindex(store, place.alias, lambda sources: NEW, place.settings, ReindexOptions(dry_run=True))
    with place.opened() as store:
        begun = place.mine(store)[-1]
        say(store, place, root, metadata=captions(root), public_url=URL)
        done = reindex(store, place.alias, lambda sources: NEW, place.settings)
        assert (done.collection, done.counts and done.counts.encoded) == (begun, 0), "it goes on"
        assert len(captions(root)) == PICTURES
        complete(store, place, root)
        meta = store.metadata(done.collection)
        assert (meta.public_url, meta.labelled, set(meta.sources)) == (URL, ("pictures",), {"pictures"})


def test_what_was_taken_away_or_replaced_since_does_not_come_back(store: Store, place: Place, root: Path) -> None:
    say(store, place, root, metadata=captions(root))
    live = resolve(store, place.alias)
    first, second = list(next(store.scroll(live)))[:2]
    reindex(store, place.alias, lambda sources: NEW, place.settings, ReindexOptions(dry_run=True))
    bare = {name: value for name, value in first.payload.items() if name != "caption"}
    store.set_payload(live, {first.id: bare, second.id: {**second.payload, "caption": "another"}})
    done = reindex(store, place.alias, lambda sources: NEW, place.settings)
    found = store.retrieve(done.collection, [first.id, second.id])
    assert "caption" not in found[first.id].payload
    assert found[second.id].payload["caption"] == "another"


def grown(store: Store, place: Place, root: Path, encoder: Shades) -> list[str]:
    """Re-index with the encoder, then add two images, captions and URLs; returns old and new collection."""
    old = resolve(store, place.alias)
    reindex(store, place.alias, lambda sources: encoder, place.settings)
    shutil.copy(root / "dark" / "000.png", root / "dark" / "more.png")
    (root / "grey" / "more.png").write_bytes(encode_png(np.full((SIDE, SIDE, 1), 7, np.uint8)))
    say(store, place, root, encoder, metadata=captions(root), public_url=URL)
    return [old, resolve(store, place.alias)]


def test_a_way_back_to_codes_of_the_same_model_loses_nothing(store: Store, place: Place, root: Path) -> None:
    old, left = grown(store, place, root, OLD)
    (root / "light" / "002.png").write_bytes(encode_png(np.full((SIDE, SIDE, 1), 9, np.uint8)))
    say(store, place, root)
    done = rollback(store, place.alias, place.settings)
    assert (done.collection, done.left, done.carried, done.missing) == (old, left, PICTURES + 2, {})
    complete(store, place, root)
    place.answers(store, root, [OLD])
    assert (store.metadata(old).public_url, store.count(old)) == (URL, PICTURES + 2)


def test_a_way_back_gives_new_images_the_public_url_too(store: Store, place: Place, root: Path) -> None:
    _, left = grown(store, place, root, OLD)
    new = [point for page in store.scroll(left) for point in page if point.payload["path"].endswith("more.png")]
    store.set_payload(left, {p.id: {k: v for k, v in p.payload.items() if k != "image_url"} for p in new})
    rollback(store, place.alias, place.settings)
    complete(store, place, root)


@pytest.mark.parametrize("ingested", [True, False])
def test_a_way_back_to_another_model_says_what_is_missing_and_loses_nothing(
    store: Store, place: Place, root: Path, ingested: bool
) -> None:
    old, left = grown(store, place, root, NEW)
    extra = root.with_name("extra")
    shutil.copytree(root / "dark", extra / "dark")
    ingest(store, NEW, [Folder("extra", extra)], place.alias, ledgers=place.settings.refused)
    done = rollback(store, place.alias, place.settings)
    assert (done.collection, done.carried, dict(done.missing)) == (old, PICTURES, {"pictures": 2, "extra": 21})
    following = f" --alias {place.alias}" if place.alias != "images" else ""
    assert list(done.next) == [
        f"retrieval ingest {extra} --name extra{following}",
        f"retrieval ingest {root} --name pictures --labels folder{following}",
    ]
    meta = store.metadata(old)
    assert (meta.public_url, set(meta.sources), meta.left) == (URL, {"pictures", "extra"}, (left,))
    shutil.rmtree(extra)
    store.set_metadata(old, dataclasses.replace(meta, sources={"pictures": str(root)}))
    if ingested:  # by a nightly job that knows of no captions
        say(store, place, root)
        complete(store, place, root)
    done_again = reindex(store, place.alias, lambda sources: WIDE, place.settings, ReindexOptions(keep=0))
    assert left in done_again.dropped
    complete(store, place, root)
    assert store.metadata(done_again.collection).left == ()


def test_a_way_back_that_was_cut_off_is_run_again(
    store: Store, place: Place, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, left = grown(store, place, root, NEW)
    honest, pages = type(store).scroll, []

    def scroll(self: Store, collection: str, *arguments: Any, **options: Any) -> Iterator[list[Point]]:
        for page in honest(self, collection, *arguments, **{**options, "page": 20}):
            if collection == left:
                pages.append(page)
                if len(pages) == 3:
                    raise StoreUnavailable("the server is away")
            yield page

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "scroll", scroll)
        with raises(StoreError, left, old, "the server is away", hint="retrieval rollback --as-it-was"):
            rollback(store, place.alias, place.settings)
    assert resolve(store, place.alias) == left
    written = store.retrieve(old, [point.id for page in pages[:2] for point in page])
    assert 0 < len(written) < PICTURES
    done = rollback(store, place.alias, place.settings)
    assert (done.collection, done.carried) == (old, PICTURES - len(written))
    found = payloads(store, place)
    assert [payload["caption"] for payload in found.values()] == [f"caption of {key}" for key in found]


def test_what_only_the_earlier_one_knows_stays_and_all_stays_as_it_was_when_asked(
    store: Store, place: Place, root: Path
) -> None:
    say(store, place, root, metadata=captions(root, "the first"))
    old, new = resolve(store, place.alias), reindex(store, place.alias, lambda s: NEW, place.settings).collection
    for page in list(store.scroll(new)):  # as if the re-index had lost them
        store.set_payload(new, {p.id: {k: v for k, v in p.payload.items() if k != "caption"} for p in page})
    before = payloads_of(store, old)
    assert rollback(store, place.alias, place.settings).collection == old
    assert payloads_of(store, old) == before
    new = reindex(store, place.alias, lambda s: NEW, place.settings).collection
    say(store, place, root, NEW, metadata=captions(root, "the second"), public_url=URL)
    done = rollback(store, place.alias, place.settings, as_it_was=True)
    assert (done.collection, done.carried, payloads_of(store, old)) == (old, 0, before)
    assert store.metadata(old).public_url is None


def test_what_a_rollback_says(place: Place, root: Path, call: Call) -> None:
    with place.opened() as store:
        old, left = grown(store, place, root, NEW)
    server = ["--qdrant-url", place.url] if place.url else []
    done = call("rollback", "--alias", place.alias, *server)
    assert done.code == 0, done.err
    assert f"{PICTURES:,} updated\n{left} is no longer live" in done.out
    following = f" --alias {place.alias}" if place.alias != "images" else ""
    assert done.out.endswith(
        f"2 images new or changed since; run:\nretrieval ingest {root} --name pictures --labels folder{following}\n"
    )
    assert "warning: " in done.err
    assert [part for part in (OLD.fingerprint[:8], place.settings.models) if not mentions(done.err, part)] == []
    again = call("rollback", "--as-it-was", "--alias", place.alias, *server)
    again.error(1, place.alias, old, "retrieval reindex --model MODEL")
    with place.opened() as store:
        assert resolve(store, place.alias) == old


@pytest.mark.parametrize("trouble", ["dropped", "damaged"])
def test_a_collection_that_was_left_and_is_gone_stops_nobody(
    place: Place, root: Path, own_home: Path, trouble: str
) -> None:
    with place.opened() as store:
        _, left = grown(store, place, root, NEW)
        rollback(store, place.alias, place.settings)
        if trouble == "dropped" or place.url:
            store.drop_collection(left)
    if trouble == "damaged" and not place.url:
        (own_home / "embedded" / "collections" / left / "manifest.json").write_text("{}")
    with place.opened() as store:
        say(store, place, root)
        assert store.count(resolve(store, place.alias)) == PICTURES + 2
