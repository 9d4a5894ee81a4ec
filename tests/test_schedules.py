"""The scheduled jobs in `infra/` and the operator's page: each held to its own format and to the real command line."""

import os
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from retrieval import cli, errors
from retrieval.errors import RetrievalError
from tests.conftest import need

ROOT = Path(__file__).parents[1]
INFRA = ROOT / "infra"
JOBS = ("ingest", "reindex")
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")


def parse(line: str) -> None:
    """Let the real command line read it, without running anything; raises Typer's own usage errors."""
    words = shlex.split(line, comments=True)
    group: Any = typer.main.get_command(cli.app)
    command = group.commands[words[1]]
    command.make_context(words[1], words[2:])


def commands(text: str) -> list[str]:
    """Lines that call `retrieval`, continued lines joined."""
    joined = text.replace("\\\n", " ")
    return [
        line.strip().removeprefix("exec ").removeprefix("$ ")
        for line in joined.splitlines()
        if re.match(r"\s*(exec |\$ )retrieval ", line)
    ]


@pytest.mark.parametrize("file", ["infra/retrieval-job", "docs/operations.md"])
def test_every_command_is_one(file: str) -> None:
    found = commands((ROOT / file).read_text("utf-8"))
    assert found
    for line in found:
        parse(re.sub(r'"?\$\{?\w+(:\?)?\}?(/[\w.-]+)?"?', "x", line))


def test_a_command_that_is_none_is_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse("retrieval reindex --if-bored")


@pytest.mark.parametrize("job", JOBS)
def test_the_job_runs_the_command_and_passes_its_exit_code_on(job: str, tmp_path: Path) -> None:
    fake = tmp_path / "retrieval"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$RETRIEVAL_HOME/arguments"\nexit 4\n')
    fake.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RETRIEVAL_HOME": str(tmp_path),
        "PICTURES": "/my pictures",
    }
    done = subprocess.run([INFRA / "retrieval-job", job], env=environment, timeout=60, check=False)
    assert done.returncode == 4
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[0] == job
    assert f"{tmp_path}/retrieval-{job}.prom" in arguments
    assert ("/my pictures" in arguments) == (job == "ingest")
    none = subprocess.run([INFRA / "retrieval-job"], env=environment, timeout=60, check=False, capture_output=True)
    assert (none.returncode, none.stderr) == (2, b"usage: retrieval-job ingest|reindex\n")


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    need(shutil.which("systemd-analyze"), "systemd-analyze")
    job = tmp_path / "retrieval-job"
    shutil.copy(INFRA / "retrieval-job", job)
    units = [shutil.copy(unit, tmp_path) for unit in (INFRA / "systemd").glob("retrieval[@-]*")]
    assert len(units) == 3
    service = tmp_path / "retrieval@.service"
    service.write_text(service.read_text().replace("/opt/retrieval/bin/retrieval-job", str(job)))
    for name in JOBS:
        shutil.copy(service, tmp_path / f"retrieval@{name}.service")
    checked = [tmp_path / f"retrieval@{name}.service" for name in JOBS]
    checked += [tmp_path / f"retrieval-{name}.timer" for name in JOBS]
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, checked)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    about = [line for line in done.stderr.splitlines() if "retrieval" in line]
    assert (done.returncode, about) == (0, [])
    service.write_text(service.read_text().replace("Restart=on-failure", "Restart=perhaps"))
    shutil.copy(service, checked[0])
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(checked[0])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "perhaps" in done.stderr, "the check itself sees a mistake"


@pytest.mark.parametrize("job", JOBS)
def test_kubernetes_takes_the_cron_jobs(job: str) -> None:
    found = yaml.safe_load((INFRA / "kubernetes" / f"{job}.yaml").read_text("utf-8"))
    for version in ("1.31", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(found, version, strict=True)
    spec = found["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    template = spec["jobTemplate"]["spec"]
    assert template["activeDeadlineSeconds"]
    failing = next(rule for rule in template["podFailurePolicy"]["rules"] if rule["action"] == "FailJob")
    assert failing["onExitCodes"]["values"] == [2, 5]
    pod = template["template"]["spec"]
    (container,) = pod["containers"]
    assert failing["onExitCodes"]["containerName"] == container["name"]
    assert {"requests", "limits"} <= container["resources"].keys()
    key = next(variable for variable in container["env"] if variable["name"] == "QDRANT_API_KEY")
    assert "value" not in key
    assert key["valueFrom"]["secretKeyRef"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**found, "spec": {**spec, "concurrency": "Forbid"}}, "1.31", strict=True)


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 1), (2, 2), (3, 0), (4, 4), (5, 5), (143, 143)])
def test_a_job_in_kubernetes_succeeds_with_3(code: int, expected: int, tmp_path: Path) -> None:
    found = yaml.safe_load((INFRA / "kubernetes" / "ingest.yaml").read_text("utf-8"))
    container = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    command = [*container["command"], *container["args"]]
    fake = tmp_path / "retrieval-job"
    begun = tmp_path / "begun"
    asked = f"trap 'exit 143' TERM; touch {begun}; while :; do sleep 0.01; done"  # to end as the program does
    fake.write_text(f"#!/bin/sh\n{asked if code == 143 else f'exit {code}'}\n")
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen(command, env=environment) as job:
        while code == 143 and not begun.exists():
            time.sleep(0.01)
        if code == 143:
            job.terminate()
        assert job.wait(timeout=60) == expected


def test_compose_runs_the_jobs_in_a_container_like_the_others() -> None:
    base: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    added: dict[str, Any] = yaml.safe_load((INFRA / "docker-compose.schedule.yml").read_text("utf-8"))
    worker, scheduler = added["services"]["worker"], added["services"]["scheduler"]
    assert re.fullmatch(r"mcuadros/ofelia:\d+\.\d+\.\d+", scheduler["image"])
    assert scheduler["command"][-1] == f"label=com.docker.compose.project={base['name']}"
    ingest = base["services"]["ingest"]
    assert [volume["target"] for volume in worker["volumes"]] == [volume["target"] for volume in ingest["volumes"]]
    for name in ("image", "network_mode", "mem_limit", "pids_limit", "cap_drop", "security_opt", "logging"):
        assert worker[name] == ingest[name], name
    assert worker["environment"].items() >= ingest["environment"].items()
    labels = worker["labels"]
    for job in JOBS:
        assert labels[f"ofelia.job-exec.{job}.no-overlap"] == "true"
        assert labels[f"ofelia.job-exec.{job}.command"].endswith(f" retrieval-job {job}")
        assert len(labels[f"ofelia.job-exec.{job}.schedule"].split()) == 6


def test_the_crontab_has_a_line_for_each_job() -> None:
    lines = [line for line in (INFRA / "crontab").read_text("utf-8").splitlines() if re.match(r"[\d*]", line)]
    assert len(lines) == len(JOBS)
    for job, line in zip(JOBS, lines, strict=True):
        fields = line.split(maxsplit=5)
        assert all(re.fullmatch(r"\*|\d+", field) for field in fields[:5])
        assert f"$LIMIT retrieval-job {job} " in fields[5]
        assert "%" not in fields[5], "cron makes a new line of it"
        subprocess.run(["sh", "-n", "-c", fields[5]], check=True, timeout=60)


def test_the_page_explains_every_exit_code() -> None:
    known = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, RetrievalError)
    }
    explained = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", PAGE, re.MULTILINE) for code in row.split(",")}
    assert explained == known | {0, 3, 130, 143}


def test_what_the_page_points_at_is_there() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
