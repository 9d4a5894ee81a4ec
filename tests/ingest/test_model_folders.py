"""A model from another folder is copied to the home before a collection is made with it, so that searches find it."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from retrieval.errors import ModelError
from retrieval.model import saved_models
from retrieval.model.encoder_process import EncoderProcess
from retrieval.reindex.job import reindex
from retrieval.reindex.options import ReindexOptions
from retrieval.reindex.outcome import ReindexOutcome
from retrieval.store import open_store
from retrieval.store.base import resolve
from tests.cli.conftest import Call
from tests.errors import raises
from tests.ingest.jobs import Place, make_digits, make_model
from tests.reindex.places import Place as Home

LOOSE = ("--max-drop", "100%")


@pytest.fixture(autouse=True)
def niceness(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test run keeps its own."""
    monkeypatch.setattr("os.nice", lambda by: by)


def test_a_collection_is_made_by_a_model_that_whoever_searches_can_load(
    place: Place, call: Call, tmp_path: Path
) -> None:
    """By a first ingest and by a re-index; the given folder is gone afterwards, like a USB stick."""
    digits, models = make_digits(tmp_path / "digits", 12), place.home / "models"
    query = next(digits.rglob("*.png"))
    for number, command in enumerate((("ingest", digits), ("reindex", *LOOSE))):
        stick = make_model(tmp_path / f"stick-{number}", seed=20 + number)
        assert call(*command, "--model", stick.path, *place.options()).code == 0
        shutil.rmtree(tmp_path / f"stick-{number}")
        assert saved_models.load(models / stick.fingerprint[:16]).fingerprint == stick.fingerprint
        assert (models / stick.fingerprint[:16] / "README.md").is_file(), "whole"
        found = call("search", query, "--include-self", "--json", *place.options()).object
        assert found["hits"][0]["distance"] < 1e-3
        assert call("ingest", digits, *place.options()).code == 0


def test_a_model_that_cannot_be_loaded_makes_no_collection(place: Place, call: Call, tmp_path: Path) -> None:
    digits = make_digits(tmp_path / "digits", 6)
    assert call("ingest", digits, *place.options()).code == 0
    stick = make_model(tmp_path / "stick", seed=20)
    weights = stick.path / "weights.safetensors"
    whole = weights.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    for data, named in ((whole[:-1], weights), (flipped, stick.fingerprint[:8])):
        weights.write_bytes(data)
        call("reindex", "--model", stick.path, *place.options()).error(1, stick.path, named)
    weights.unlink()
    call("reindex", "--model", stick.path, *place.options()).error(1, stick.path, "weights.safetensors", "missing")
    assert len(place.collections()) == 1


def test_a_model_that_is_gone_before_the_swap(place: Place, call: Call, tmp_path: Path) -> None:
    digits = make_digits(tmp_path / "digits", 12)
    assert call("ingest", digits, *place.options()).code == 0
    home = Home(place.home, place.url, place.alias)
    models, other = home.settings.models, make_model(tmp_path / "stick", seed=20)

    def lost(name: str, outcome: ReindexOutcome) -> None:
        if name == "gate":
            shutil.rmtree(models / other.fingerprint[:16])

    with home.opened() as store, closing(EncoderProcess(other, home.settings.xla_cache)) as encoder:
        live = resolve(store, place.alias)
        loose = ReindexOptions(max_drop=1)
        with raises(ModelError, other.fingerprint[:8], models, hint=other.fingerprint[:16]):
            reindex(store, place.alias, lambda sources: encoder, home.settings, loose)
        assert home.mine(store) == [live], "nothing was encoded"
        saved_models.copy_to_home(models, other)
        with raises(ModelError, other.fingerprint[:8], models, hint=other.fingerprint[:16]):
            reindex(store, place.alias, lambda sources: encoder, home.settings, loose, step=lost)
        assert resolve(store, place.alias) == live
        saved_models.copy_to_home(models, other)
        assert reindex(store, place.alias, lambda sources: encoder, home.settings, loose).state == "swapped"


@pytest.mark.parametrize("place", ["embedded"], indirect=True)
def test_a_folder_that_holds_another_model_is_not_searched_with(place: Place, call: Call, tmp_path: Path) -> None:
    digits, models = make_digits(tmp_path / "digits", 6), place.home / "models"
    assert call("ingest", digits, *place.options()).code == 0
    with open_store(Home(place.home, place.url, place.alias).settings) as store:
        mark = store.metadata(resolve(store, place.alias)).model
    other = make_model(tmp_path / "stick", seed=20)
    shutil.rmtree(models / mark[:16])
    query = next(digits.rglob("*.png"))
    call("search", query, *place.options()).error(1, mark[:8], models, mark[:16], "retrieval reindex --model MODEL")
    shutil.copytree(other.path, models / mark[:16])
    call("search", query, *place.options()).error(1, models / mark[:16], other.fingerprint[:8], mark[:8])
