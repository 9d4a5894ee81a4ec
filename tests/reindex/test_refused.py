"""Images that temporarily cannot be read are no change, are not newly refused, and do not stop a re-index."""

import os
from pathlib import Path

from retrieval.errors import RetrievalError
from retrieval.ingest.job import ingest
from retrieval.ingest.ledger import Ledger
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.summary import IngestSummary
from retrieval.reindex.job import reindex
from retrieval.reindex.options import ReindexOptions
from retrieval.reindex.outcome import ReindexOutcome
from retrieval.sources.folder import Folder
from retrieval.store.base import Store, resolve
from tests.errors import raises
from tests.reindex.conftest import NEW, OLD
from tests.reindex.encoders import Shades
from tests.reindex.places import PICTURES, Place


def again(store: Store, place: Place, root: Path, **options: int) -> IngestSummary:
    """Ingest the images again."""
    source = Folder("pictures", root, labels=True)
    return ingest(store, OLD, [source], place.alias, IngestOptions(**options), ledgers=place.settings.refused)  # type: ignore[arg-type]


def run(store: Store, place: Place, encoder: Shades, **options: object) -> ReindexOutcome:
    return reindex(store, place.alias, lambda sources: encoder, place.settings, ReindexOptions(**options))  # type: ignore[arg-type]


def dangle(root: Path, count: int) -> list[Path]:
    """Dangling links."""
    links = [root / "dark" / f"link-{number}.png" for number in range(count)]
    for number, link in enumerate(links):
        link.symlink_to(root / f"away-{number}.data")  # of no image's suffix, so that only the link is listed
    return links


def test_an_image_that_still_cannot_be_read_is_no_change(store: Store, place: Place, root: Path) -> None:
    (link,) = dangle(root, 1)
    assert again(store, place, root).failed == 1
    rows = Ledger(place.settings.refused, store.location, place.alias).path.read_bytes()
    assert run(store, place, OLD, if_changed=True).state == "unchanged"
    trained = run(store, place, NEW, if_changed=True, fresh=True)
    assert (trained.state, trained.model) == ("unchanged", "")
    assert Ledger(place.settings.refused, store.location, place.alias).path.read_bytes() == rows, "only read"
    link.resolve().write_bytes((root / "dark" / "000.png").read_bytes())
    done = run(store, place, OLD, if_changed=True)
    assert (done.state, done.counts and done.counts.found) == ("swapped", PICTURES + 1)
    assert store.count(resolve(store, place.alias)) == PICTURES + 1
    assert run(store, place, OLD, if_changed=True).state == "unchanged"


def test_a_picture_that_was_good_and_cannot_be_read_now_is_no_change(store: Store, place: Place, root: Path) -> None:
    file = root / "dark" / "000.png"
    file.unlink()
    file.symlink_to(root.parent / "away.png")
    assert run(store, place, OLD, if_changed=True).state == "unchanged"
    assert resolve(store, place.alias) == place.mine(store)[0]


def test_a_file_that_only_looks_newer_is_no_change(store: Store, place: Place, root: Path) -> None:
    file = root / "dark" / "000.png"
    os.utime(file)
    assert run(store, place, OLD, if_changed=True).state == "unchanged"
    file.write_bytes((root / "dark" / "003.png").read_bytes())
    assert run(store, place, OLD, if_changed=True).state == "swapped"


def test_images_that_cannot_be_read_stop_a_run_once(store: Store, place: Place, root: Path) -> None:
    dangle(root, 5)
    with raises(RetrievalError, "5 images", 4, option="max_failures", hint=""):
        run(store, place, NEW, max_failures=4)
    done = run(store, place, NEW, max_failures=4)
    assert (done.state, done.counts and (done.counts.failed, done.counts.newly_refused)) == ("swapped", (5, 0))
    assert run(store, place, OLD, max_failures=0).state == "swapped"


def test_more_are_allowed_when_asked(store: Store, place: Place, root: Path) -> None:
    dangle(root, 5)
    assert run(store, place, NEW, max_failures=5).state == "swapped"


def test_what_was_passing_and_is_lasting_now_is_news(store: Store, place: Place, root: Path) -> None:
    (link,) = dangle(root, 1)
    assert again(store, place, root, max_failures=1).newly_refused == 1
    second = again(store, place, root, max_failures=0)
    assert (second.newly_refused, second.refused[0].again) == (0, True)
    link.resolve().write_bytes(b"no picture")
    with raises(RetrievalError, "1 images", 0, option="max_failures", hint=""):
        again(store, place, root, max_failures=0)
    ledger = Ledger(place.settings.refused, store.location, place.alias)
    assert '"lasting": true' in ledger.path.read_text("utf-8")
