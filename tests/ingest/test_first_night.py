"""A fresh home: what scheduled jobs do in the first night, and in the second."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval.config import Settings
from retrieval.model import saved_models
from retrieval.store import open_store
from retrieval.train import recipe
from tests.cli.conftest import SECONDS, Call, environment
from tests.errors import mentions
from tests.ingest.conftest import ALIAS
from tests.ingest.jobs import Place, make_digits, make_model
from tests.store.conftest import ENGINES, clean, connected, meta, numbers

JOB = Path(__file__).parents[2] / "infra" / "retrieval-job"
FEW = 64
SHORT = """
from retrieval import cli
from retrieval.train import recipe
recipe.default_epochs = lambda images, seen: 4
cli.main()
"""
"""The real command, with short trainings."""


@pytest.fixture
def few(tmp_path: Path) -> Path:
    return make_digits(tmp_path / "digits", FEW)


@pytest.fixture(params=ENGINES)
def fresh(request: pytest.FixtureRequest, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """An empty home, and on the server an alias that no other test uses; trainings are short."""
    monkeypatch.setattr(recipe, "default_epochs", lambda images, seen: 4)
    if request.param == "embedded":
        yield Place(own_home, None, ALIAS)
        return
    url = request.getfixturevalue("qdrant_url")
    yield Place(own_home, url, f"test-first-{next(numbers)}")
    clean(url)


def test_an_ingest_by_hand_says_what_is_missing(fresh: Place, few: Path, call: Call) -> None:
    commands = "retrieval train SOURCE", "retrieval ingest SOURCE --train"
    call("ingest", few, *fresh.options()).error(1, fresh.home / "models", *commands)


def test_with_train_it_trains_when_there_is_neither_model_nor_collection(fresh: Place, few: Path, call: Call) -> None:
    call("ingest", few, "--train", "--dry-run", *fresh.options()).error(1, fresh.home / "models")
    first = call("ingest", few, "--train", "--json", *fresh.options())
    assert first.code == 0
    assert (first.object["found"], first.object["encoded"]) == (FEW, FEW)
    assert str(fresh.home / "models") in first.err
    default = saved_models.default(fresh.home / "models")
    assert default is not None
    assert all(mentions(first.err, part) for part in (default.name[:8], FEW))
    second = call("ingest", few, "--train", "--json", *fresh.options())
    assert (second.object["unchanged"], second.err) == (FEW, "")
    assert saved_models.default(fresh.home / "models") == default


def test_nothing_is_trained_where_there_is_a_model(fresh: Place, few: Path, call: Call) -> None:
    saved = make_model(fresh.home)
    assert call("ingest", few, "--train", *fresh.options()).err == ""
    assert [file.parent.name for file in (fresh.home / "models").glob("*/config.json")] == [saved.fingerprint[:16]]


def test_nothing_is_trained_where_there_is_a_collection(fresh: Place, few: Path, call: Call) -> None:
    with open_store(Settings(home=fresh.home, qdrant_url=fresh.url)) as store:
        store.create_collection(f"{fresh.alias}-20261123t070000z-4f1c2a9b", meta())
        store.move_alias(fresh.alias, f"{fresh.alias}-20261123t070000z-4f1c2a9b")
    call("ingest", few, "--train", *fresh.options()).error(1, "4f1c2a9b", fresh.home / "models")
    assert not (fresh.home / "models").exists()


def test_a_reindex_that_is_not_due_by_any_count_is_done(fresh: Place, call: Call) -> None:
    said = call("reindex", "--train", "--if-older-than", "24h", "--json", *fresh.options())
    assert (said.code, said.object["outcome"], said.object["collection"]) == (0, "absent", None)
    assert call("reindex", "--train", "--if-changed", *fresh.options()).code == 0
    call("reindex", "--train", *fresh.options()).error(1, repr(fresh.alias), "retrieval ingest SOURCE")
    with open_store(Settings(home=fresh.home, qdrant_url=fresh.url)) as store:
        store.create_collection(f"{fresh.alias}-20261123t070000z-4f1c2a9b", meta())
    unlike_a_fresh_home = call("reindex", "--train", "--if-changed", *fresh.options())  # the alias was lost
    unlike_a_fresh_home.error(1, repr(fresh.alias), "retrieval ingest SOURCE")


def test_two_first_ingests_do_not_both_train(few: Path, own_home: Path, qdrant_url: str, call: Call) -> None:
    alias = f"test-first-{next(numbers)}"
    with connected(qdrant_url) as other, other.lock(alias):
        error = call("ingest", few, "--train", "--alias", alias, "--qdrant-url", qdrant_url).error(4)
    assert f"alias '{alias}'" in error
    assert not (own_home / "models").exists()


def test_train_with_a_model_is_wrong_usage(few: Path, call: Call) -> None:
    call("ingest", few, "--train", "--model", "abcd").error(2, "--train", "--model abcd")


def job(name: str, home: Path, pictures: Path) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, log and output of a scheduled job, run as every schedule runs it."""
    command = home.parent / "bin" / "retrieval"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(SHORT)} "$@"\n')
    command.chmod(0o755)
    done = subprocess.run(
        [JOB, name],
        env=environment(home, PICTURES=str(pictures), PATH=f"{command.parent}:{os.environ['PATH']}"),
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    return done.returncode, lines, done.stdout


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_the_scheduled_jobs_from_the_first_night_on(few: Path, own_home: Path) -> None:
    own_home.mkdir()
    code, log, said = job("reindex", own_home, few)
    assert (code, log[-1]["result"]) == (0, "absent")
    assert said == "images: nothing to do: there is no collection yet; make it with: retrieval ingest SOURCE\n"

    code, log, said = job("ingest", own_home, few)
    assert code == 0, log
    events = {line["event"]: line for line in log}
    assert events["training"]["reason"] == f"no model in {own_home / 'models'} yet"
    assert events["trained"]["images"] == FEW
    assert (log[-1]["encoded"], log[-1]["exit_code"]) == (FEW, 0)
    assert f": {FEW} points at " in said

    code, log, _ = job("ingest", own_home, few)
    assert (code, log[-1]["unchanged"]) == (0, FEW)
    assert not {"training", "trained"} & {line["event"] for line in log}
    code, log, _ = job("reindex", own_home, few)
    assert (code, log[-1]["result"]) == (0, "recent")
    for name in ("ingest", "reindex"):
        assert f'retrieval_{name}_exit_code{{alias="images"}} 0.0' in (own_home / f"retrieval-{name}.prom").read_text()
