"""A worker of a Ray cluster, run without Ray, does with a page what one process does."""

from contextlib import closing
from pathlib import Path

import pytest

from retrieval.config import Settings
from retrieval.errors import BadImage, FilterError, RetrievalError, SourceError
from retrieval.ingest.context import Listing, OtherCollections, Target
from retrieval.ingest.ledger import Ledger
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.pipeline import fill
from retrieval.ingest.ray.cluster import pack_error, unpack_result
from retrieval.ingest.ray.worker import SourceSpec, Worker, WorkerJob, pack_entries
from retrieval.model import saved_models
from retrieval.model.encoder_process import EncoderProcess
from retrieval.reindex.candidate import open_candidate
from retrieval.reindex.outcome import ReindexOutcome
from retrieval.schema.index_config import DEFAULT
from retrieval.sources.folder import Folder
from retrieval.store import open_store
from retrieval.store.base import resolve
from tests.cli.conftest import Call
from tests.ingest.jobs import Place, make_digits

URL = "http://127.0.0.1:8000"


@pytest.mark.parametrize("place", ["server"], indirect=True)
def test_a_worker_takes_over_what_users_wrote_since(place: Place, call: Call, tmp_path: Path) -> None:
    digits = make_digits(tmp_path / "digits", 12)
    keys = [file.relative_to(digits).as_posix() for file in sorted(digits.rglob("*.png"))]
    captions = tmp_path / "captions.csv"
    captions.write_text("path,caption\n" + "".join(f"{key},of {key}\n" for key in keys))
    assert call("ingest", digits, *place.options()).code == 0
    settings = Settings(home=place.home, qdrant_url=place.url)
    saved = saved_models.load(saved_models.find(settings.models, None))
    with open_store(settings) as store, closing(EncoderProcess(saved, settings.xla_cache)) as encoder:
        live, source = resolve(store, place.alias), Folder("digits", digits)
        outcome = ReindexOutcome(place.alias, live=live)
        with store.lock(place.alias) as held:
            left = open_candidate(store, outcome, encoder, DEFAULT)
            target = Target(store, held, place.alias, left, encoder, settings.refused)
            fill(target, [Listing(source, source.entries())], IngestOptions(), like=live)
        assert call("ingest", digits, "--metadata", captions, "--public-url", URL, *place.options()).code == 0
        with store.lock(place.alias) as held:
            assert open_candidate(store, outcome, encoder, DEFAULT) == left
            job = WorkerJob(
                settings=settings,
                alias=place.alias,
                collection=left,
                holder=held.holder,
                model=saved,
                specs={"digits": SourceSpec("digits", str(digits), labels=False)},
                options=IngestOptions(public_url=store.metadata(left).public_url),
                ledger=Ledger(settings.refused, store.location, place.alias),
                others=OtherCollections(live, same_model=True),
            )
            part = Worker(job).work("digits", pack_entries(list(source.entries()), source))
        assert (part.counts["unchanged"], part.counts["encoded"]) == (len(keys), 0)
        found = {p.payload["path"]: p.payload for page in store.scroll(left) for p in page}
    assert {key: payload["caption"] for key, payload in found.items()} == {key: f"of {key}" for key in keys}
    assert all(payload["image_url"].startswith(f"{URL}/images/") for payload in found.values())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SourceError("trip is gone", hint="mount it", option="source"), SourceError),
        (FilterError("no such field", "^"), RetrievalError),
        (BadImage("a.png", "empty"), RetrievalError),
    ],
)
def test_a_workers_error_arrives_whole(error: RetrievalError, kind: type[RetrievalError]) -> None:
    with pytest.raises(RetrievalError) as raised:
        unpack_result(pack_error(error))
    again = raised.value
    assert type(again) is kind
    assert (again.message, again.hint, again.option) == (error.message, error.hint, error.option)
