"""What users say of their images outlives a re-index that goes on, and a way back."""

from pathlib import Path
from typing import Any

import pytest

from retrieval.ingest.job import ingest
from retrieval.ingest.options import Options as FillOptions
from retrieval.records import Payload
from retrieval.reindex.job import reindex
from retrieval.reindex.options import Options
from retrieval.sources.folder import Folder
from retrieval.store.base import Store, resolve
from tests.reindex.conftest import NEW, OLD
from tests.reindex.encoders import Shades
from tests.reindex.places import PICTURES, Place

URL = "http://127.0.0.1:8000"


def captions(root: Path, text: str = "caption of") -> dict[str, Payload]:
    """A row of a metadata file for each picture."""
    keys = [file.relative_to(root).as_posix() for file in sorted(root.rglob("*.png"))]
    return {key: {"caption": f"{text} {key}"} for key in keys}


def say(store: Store, place: Place, root: Path, encoder: Shades = OLD, **options: Any) -> None:
    """Ingest the pictures again, with what the user has to say now."""
    source = Folder("pictures", root, labels=True)
    ingest(store, encoder, [source], place.alias, FillOptions(**options), ledgers=place.settings.refused)


def payloads(store: Store, place: Place) -> dict[str, Payload]:
    """Of what is live, by key."""
    pages = store.scroll(resolve(store, place.alias))
    return {point.payload["path"]: point.payload for page in pages for point in page}


def complete(store: Store, place: Place, root: Path) -> None:
    """Every picture has its caption, its label and its address."""
    found = payloads(store, place)
    assert len(found) == len(list(root.rglob("*.png")))
    assert {key: payload.get("caption") for key, payload in found.items()} == {
        key: row["caption"] for key, row in captions(root).items()
    }
    assert all(payload["label"] == key.split("/")[0] for key, payload in found.items())
    assert all(payload.get("image_url", "").startswith(f"{URL}/images/") for payload in found.values())


@pytest.mark.parametrize("left_by", ["a dry run", "a kill"])
def test_what_was_written_since_the_new_collection_was_begun(
    left_by: str, place: Place, root: Path
) -> None:
    if left_by == "a kill":
        place.killed("settle", seed=2)
    else:
        with place.opened() as store:
            reindex(store, place.alias, lambda sources: NEW, place.settings, Options(dry_run=True))
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
    reindex(store, place.alias, lambda sources: NEW, place.settings, Options(dry_run=True))
    bare = {name: value for name, value in first.payload.items() if name != "caption"}
    store.set_payload(live, {first.id: bare, second.id: {**second.payload, "caption": "another"}})
    done = reindex(store, place.alias, lambda sources: NEW, place.settings)
    found = store.retrieve(done.collection, [first.id, second.id])
    assert "caption" not in found[first.id].payload
    assert found[second.id].payload["caption"] == "another"
