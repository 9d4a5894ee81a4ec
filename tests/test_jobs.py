"""The history of runs: what each left behind, however it ended."""

import json
import subprocess
import sys
from pathlib import Path

from retrieval.jobs import MOST, Run, history
from tests.cli.conftest import Call, call  # noqa: F401 - a fixture


def test_a_record_says_how_a_run_ended(tmp_path: Path) -> None:
    first = Run(tmp_path / "jobs", "ingest", "images")
    assert [record["outcome"] for record in history(tmp_path / "jobs")] == ["running"]
    first.facts["encoded"] = 3
    first.end(0)
    for code in (1, 3, 4, 5, 130, 143):
        Run(tmp_path / "jobs", "reindex", "images").end(code)
    records = history(tmp_path / "jobs")
    outcomes = ["terminated", "interrupted", "refused", "locked", "done", "failed", "done"]
    assert [record["outcome"] for record in records] == outcomes
    assert (records[-1]["job"], records[-1]["encoded"], records[-1]["exit_code"]) == ("ingest", 3, 0)
    assert records[-1]["started"] <= records[-1]["ended"]


def test_a_run_that_died_without_a_word_is_called_killed(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from retrieval.jobs import Run; Run(Path({str(tmp_path)!r}), 'ingest', 'images')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert [record["outcome"] for record in history(tmp_path)] == ["killed"]


def test_the_history_is_bounded_and_damage_costs_one_record(tmp_path: Path) -> None:
    for number in range(MOST + 5):
        (tmp_path / f"20260101T0000{number:06d}.json").write_text("half a reco")
    Run(tmp_path, "ingest", "images").end(0)
    assert len(list(tmp_path.glob("*.json"))) == MOST
    assert [record["outcome"] for record in history(tmp_path)] == ["done"]


def test_a_home_that_cannot_be_written_costs_no_job(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file where the folder should be")
    run = Run(tmp_path / "jobs", "ingest", "images")
    run.end(0)
    assert history(tmp_path / "jobs") == []


def test_jobs_lists_them(own_home: Path, call: Call) -> None:  # noqa: F811
    assert "no runs yet" in call("jobs").out
    done = call("ingest", own_home / "nothing-here")
    assert done.code == 1
    Run(own_home / "jobs", "reindex", "other").end(5)
    assert [record["alias"] for record in call("jobs", "--json", "--alias", "other").objects] == ["other"]
    (record,) = call("jobs", "--json", "--limit", 1).objects
    assert (record["job"], record["outcome"], record["exit_code"]) == ("reindex", "refused", 5)
    assert json.loads((next((own_home / "jobs").glob("*.json"))).read_text())
    assert "refused" in call("jobs").out


def test_a_process_id_that_is_used_again_is_not_the_run(tmp_path: Path) -> None:
    Run(tmp_path, "ingest", "images")
    (file,) = tmp_path.glob("*.json")
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "began": record["began"] - 1}))
    assert [record["outcome"] for record in history(tmp_path)] == ["killed"]
    file.write_text(json.dumps({name: value for name, value in record.items() if name != "began"}))
    assert [record["outcome"] for record in history(tmp_path)] == ["running"], "an older version's"
