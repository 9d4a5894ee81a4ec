"""The scheduled jobs in `infra/` and the operator's page: each held to its own format and to the real command line."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from retrieval import cli, errors
from retrieval.errors import RetrievalError
from retrieval.ingest.metrics import write_metrics
from retrieval.ingest.summary import IngestSummary
from tests.conftest import need

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
JOBS = ("ingest", "reindex")
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")


def parse(line: str) -> None:
    """Let the real command line read it, without running anything; raises Typer's own usage errors."""
    words = shlex.split(line, comments=True)
    group: Any = typer.main.get_command(cli.make_app())
    command = group.commands[words[1]]
    command.make_context(words[1], words[2:])


def commands(text: str) -> list[str]:
    """What calls `retrieval`: lines, continued ones joined, and code between backticks."""
    joined = text.replace("\\\n", " ")
    return re.findall(r"^\s*(?:exec |\$ )(retrieval .+)", joined, re.MULTILINE) + re.findall(
        r"`(retrieval [a-z][^`]*)`", joined
    )


def test_every_command_is_one() -> None:
    files = [*(path for path in INFRA.rglob("*") if path.is_file()), ROOT / "docs" / "operations.md"]
    found = {path.name: commands(path.read_text("utf-8")) for path in files}
    assert len(found["retrieval-job"]) == len(JOBS)
    by_hand = {"train", "rollback", "collections", "jobs", "doctor", "status", "forget", "migrate", "search", "serve"}
    assert {line.split()[1] for line in found["operations.md"]} == {*JOBS, *by_hand}
    for line in itertools.chain.from_iterable(found.values()):
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
    arguments = (tmp_path / "arguments").read_text("utf-8").splitlines()
    assert arguments[0] == job
    assert f"{tmp_path}/retrieval-{job}.prom" in arguments
    assert ("/my pictures" in arguments) == (job == "ingest")
    none = subprocess.run([INFRA / "retrieval-job"], env=environment, timeout=60, check=False, capture_output=True)
    assert (none.returncode, none.stderr) == (2, b"usage: retrieval-job ingest|reindex\n")


def test_systemd_is_told_what_the_exit_codes_mean() -> None:
    lines = (INFRA / "systemd" / "retrieval@.service").read_text("utf-8").splitlines()
    told = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
    assert (told["Type"], told["Restart"]) == ("oneshot", "on-failure")
    assert (told["SuccessExitStatus"], told["RestartPreventExitStatus"]) == ("3", "2 5")
    assert told["KillMode"] == "mixed", "SIGTERM is for the program; workers that die of it would cost the batch"
    mask = int(told["UMask"], 8)
    assert mask & 0o044 == 0, "node_exporter can read the numbers"
    assert int(told["StateDirectoryMode"], 8) & 0o007 == 0, "nobody else can read the models"


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    need(shutil.which("systemd-analyze"), "systemd-analyze", root=True)
    job = tmp_path / "retrieval-job"
    shutil.copy(INFRA / "retrieval-job", job)
    units = [shutil.copy(unit, tmp_path) for unit in (INFRA / "systemd").glob("retrieval[@-]*")]
    assert len(units) == 4
    serve = tmp_path / "retrieval-serve.service"
    serve.write_text(serve.read_text().replace("/opt/retrieval/bin/retrieval", str(job)))
    service = tmp_path / "retrieval@.service"
    service.write_text(service.read_text().replace("/opt/retrieval/bin/retrieval-job", str(job)))
    for name in JOBS:
        shutil.copy(service, tmp_path / f"retrieval@{name}.service")
    checked = [tmp_path / f"retrieval@{name}.service" for name in JOBS]
    checked += [*(tmp_path / f"retrieval-{name}.timer" for name in JOBS), serve]
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
    assert pod["restartPolicy"] == "Never", "else the failure policy is refused"
    account = re.search(r"--uid (\d+)", (INFRA / "Dockerfile").read_text("utf-8"))
    assert account is not None
    assert pod["securityContext"].items() >= {"runAsNonRoot": True, "runAsUser": int(account[1])}.items()
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["name"] for mount in container["volumeMounts"] if mount.get("readOnly")] == ["pictures"]
    variables = {variable["name"]: variable for variable in container["env"]}
    assert variables["QDRANT_URL"]["value"].startswith("https://"), "a key goes to another host by https only"
    key = variables["QDRANT_API_KEY"]
    assert "value" not in key
    assert key["valueFrom"]["secretKeyRef"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**found, "spec": {**spec, "concurrency": "Forbid"}}, "1.31", strict=True)


def faked(folder: Path, script: str) -> dict[str, str]:
    """An environment in which `retrieval-job` is that script."""
    fake = folder / "retrieval-job"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "RETRIEVAL_HOME": str(folder)}


def in_kubernetes(job: str) -> list[str]:
    """What the container of a CronJob runs."""
    found = yaml.safe_load((INFRA / "kubernetes" / f"{job}.yaml").read_text("utf-8"))
    (container,) = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return [*container["command"], *container["args"]]


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 1), (2, 2), (3, 0), (4, 4), (5, 5)])
def test_a_job_in_kubernetes_succeeds_with_3(job: str, code: int, expected: int, tmp_path: Path) -> None:
    environment = faked(tmp_path, f'[ "$1" = {job} ] && exit {code}')
    assert subprocess.run(in_kubernetes(job), env=environment, timeout=60, check=False).returncode == expected


@pytest.mark.parametrize("job", JOBS)
def test_a_job_in_kubernetes_hears_sigterm_and_is_waited_for(job: str, tmp_path: Path) -> None:
    finish = 'sleep 0.3; echo done > "$RETRIEVAL_HOME/batch"; exit 143'
    ready = "echo ready; i=0; while [ $i -lt 300 ]; do sleep 0.1; i=$((i + 1)); done"
    environment = faked(tmp_path, f"trap '{finish}' TERM\n{ready}")
    with subprocess.Popen(in_kubernetes(job), env=environment, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "ready\n"
        shell.terminate()
        assert shell.wait(timeout=60) == 143
    assert (tmp_path / "batch").read_text("utf-8") == "done\n"


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
        # else Ofelia's own default, root
        assert f"--uid {labels[f'ofelia.job-exec.{job}.user']} " in (INFRA / "Dockerfile").read_text("utf-8")
        assert len(labels[f"ofelia.job-exec.{job}.schedule"].split()) == 6


@pytest.mark.parametrize("job", JOBS)
def test_the_crontab_mails_what_a_person_must_see(job: str, tmp_path: Path) -> None:
    text = (INFRA / "crontab").read_text("utf-8")
    (line,) = re.findall(rf"^[\d*].* retrieval-job {job} .*", text, re.MULTILINE)
    fields = line.split(maxsplit=5)
    assert all(re.fullmatch(r"\*|\d+", field) for field in fields[:5])
    assert "%" not in line, "cron makes a new line of it"
    (tmp_path / "settings").write_text("WORD=told\n")
    settings = dict(re.findall(r"^([A-Z]+)=(.*)", text, re.MULTILINE))
    for code in (0, 1, 3, 4, 5):
        here = {"LIMIT": settings["LIMIT"], "SETTINGS": str(tmp_path / "settings")}
        environment = here | faked(tmp_path, f'echo "{job}: $WORD {code}" >&2; exit {code}')
        done = subprocess.run(["sh", "-c", fields[5]], env=environment, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == ("" if code in (0, 3) else f"{job}: told {code}\n", "")


def test_the_page_explains_every_exit_code() -> None:
    known = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, RetrievalError)
    }
    explained = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", PAGE, re.MULTILINE) for code in row.split(",")}
    assert explained == known | {0, 3, 130, 143}


def test_the_page_names_metrics_that_are_written(tmp_path: Path) -> None:
    for job in JOBS:
        row = {"check": "recall at 5", "value": 1.0}
        write_metrics(tmp_path / job, IngestSummary("images", None), 0, job, [row] if job == "reindex" else [])
    written = "".join((tmp_path / job).read_text("utf-8") for job in JOBS)
    named = set(re.findall(r"\bretrieval_\w+", PAGE))
    assert len(named) >= 6
    assert named <= set(re.findall(r"^retrieval_\w+", written, re.MULTILINE))


def test_what_the_page_points_at_is_there() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
