"""The history of runs: the record of each, however it ended."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval.ops.job_history import MOST, JobRecord, read_history
from retrieval.util.process import describe_process, this_process
from retrieval.util.sanitize import redact, redact_arguments
from tests.cli.conftest import Call, call  # noqa: F401 - a fixture


def test_a_record_says_how_a_run_ended(tmp_path: Path) -> None:
    first = JobRecord(tmp_path / "jobs", "ingest", "images")
    assert [record["outcome"] for record in read_history(tmp_path / "jobs")] == ["running"]
    first.facts["encoded"] = 3
    first.end(0)
    for code in (1, 3, 4, 5, 130, 143):
        JobRecord(tmp_path / "jobs", "reindex", "images").end(code)
    records = read_history(tmp_path / "jobs")
    outcomes = ["terminated", "interrupted", "refused", "locked", "done", "failed", "done"]
    assert [record["outcome"] for record in records] == outcomes
    assert (records[-1]["job"], records[-1]["encoded"], records[-1]["exit_code"]) == ("ingest", 3, 0)
    assert records[-1]["started"] <= records[-1]["ended"]


def test_a_run_that_died_without_a_word_is_called_killed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from retrieval.ops.job_history import JobRecord;"
        f" JobRecord(Path({str(tmp_path)!r}), 'ingest', 'images')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert [record["outcome"] for record in read_history(tmp_path)] == ["killed"]


def test_the_history_is_bounded_and_damage_costs_one_record(tmp_path: Path) -> None:
    for number in range(MOST + 5):
        (tmp_path / f"20260101T0000{number:06d}.json").write_text("half a reco")
    JobRecord(tmp_path, "ingest", "images").end(0)
    assert len(list(tmp_path.glob("*.json"))) == MOST
    assert [record["outcome"] for record in read_history(tmp_path)] == ["done"]


def test_a_home_that_cannot_be_written_costs_no_job(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file where the folder should be")
    run = JobRecord(tmp_path / "jobs", "ingest", "images")
    run.end(0)
    assert read_history(tmp_path / "jobs") == []


def test_jobs_lists_them(own_home: Path, call: Call) -> None:  # noqa: F811
    assert "no runs yet" in call("jobs").out
    done = call("ingest", own_home / "nothing-here")
    assert done.code == 1
    JobRecord(own_home / "jobs", "reindex", "other").end(5)
    assert [record["alias"] for record in call("jobs", "--json", "--alias", "other").objects] == ["other"]
    (record,) = call("jobs", "--json", "--limit", 1).objects
    assert (record["job"], record["outcome"], record["exit_code"]) == ("reindex", "refused", 5)
    assert json.loads((next((own_home / "jobs").glob("*.json"))).read_text())
    assert "refused" in call("jobs").out


SECRET = "hush"
ADDRESSES = (
    f"http://me:{SECRET}@127.0.0.1:6333",
    f"https://{SECRET}@host",
    f"http://me:x/{SECRET}@127.0.0.1",
    f"http://127.0.0.1:6333,http://me:{SECRET}@127.0.0.1",
    f"http://127.0.0.1:6333?api-key={SECRET}",
    f"ftp://me:{SECRET}@127.0.0.1",
    f"http://me:{SECRET}@[127.0.0.1",
)


@pytest.mark.parametrize("url", ADDRESSES)
@pytest.mark.parametrize("command", [("ingest", "{here}"), ("reindex",), ("rollback",), ("status",), ("doctor",)])
def test_a_secret_in_an_address_is_refused_and_never_written_down(
    own_home: Path,
    tmp_path: Path,
    call: Call,  # noqa: F811
    command: tuple[str, ...],
    url: str,
) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.png").touch()
    arguments = [part.format(here=tmp_path / "some") for part in command]
    done = call(*arguments, "--qdrant-url", url)
    assert done.code
    written = [file.read_text() for file in own_home.rglob("*") if file.is_file()]
    assert SECRET not in "".join([done.out, done.err, *written])
    if command[0] == "rollback":
        assert any("***" in text for text in written), "or else nothing was recorded"


def test_what_a_process_says_of_itself_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--token", SECRET, f"--api-key={SECRET}", f"QDRANT_API_KEY={SECRET}", "--key-column", "path"]
    monkeypatch.setattr(sys, "argv", ["job.py", *options, *ADDRESSES, f"s3://k:{SECRET}@b", f"s3://b?sig={SECRET}&x=1"])
    record = this_process()
    assert record["pid"] == os.getpid()
    assert SECRET not in json.dumps(record)
    assert SECRET not in describe_process(record)
    assert "--key-column path" in record["command"]


@pytest.mark.parametrize(
    "harmless",
    ["http://127.0.0.1:6333", "s3://bucket/me@home", "http://host:80/a@b", "https://h?page=2", "a b", "x=1", "--yes"],
)
def test_what_is_no_secret_stays_as_it_is(harmless: str) -> None:
    assert redact(harmless) == harmless
    assert redact_arguments(["x", harmless, "y"]) == ["x", harmless, "y"]
    assert redact(f"{harmless}: refused (1 of 2)") == f"{harmless}: refused (1 of 2)"


def test_a_run_whose_process_id_is_used_again_is_called_killed(tmp_path: Path) -> None:
    run = JobRecord(tmp_path, "ingest", "images")
    (file,) = tmp_path.glob("*.json")
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "process_started": record["process_started"] - 1}))
    assert [record["outcome"] for record in read_history(tmp_path)] == ["killed"]
    run.end(0)
    old = {name: value for name, value in record.items() if name != "process_started"}  # of an earlier release
    file.write_text(json.dumps(old))
    assert [record["outcome"] for record in read_history(tmp_path)] == ["running"]
