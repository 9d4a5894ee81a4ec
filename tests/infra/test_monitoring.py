"""What Prometheus and Grafana are told: held to what is really exported, and to promtool."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from retrieval.ingest.metrics import write_metrics
from retrieval.ingest.summary import IngestSummary
from tests.conftest import need
from tests.store import servers

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "infra" / "monitoring"
WATCHERS = ("prometheus", "node-exporter", "grafana")
PROMETHEUS = {"up", "ALERTS"}
"""What Prometheus itself adds."""
NODE_EXPORTER = {"node_filesystem_avail_bytes", "node_filesystem_size_bytes", "node_textfile_scrape_error"}
"""Of its collectors `filesystem` and `textfile`."""
QDRANT = {"memory_resident_bytes", "rest_responses_total"}
"""Those that we use; a test asks a real server for them."""
WORDS = {"and", "or", "unless", "bool", "offset"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def services() -> dict[str, Any]:
    return dict(load(ROOT / "docker-compose.yml")["services"])


def rules() -> list[dict[str, Any]]:
    return [rule for group in load(MONITORING / "alerts.yml")["groups"] for rule in group["rules"]]


def scraped() -> list[dict[str, Any]]:
    return list(load(MONITORING / "prometheus.yml")["scrape_configs"])


def dashboard() -> dict[str, Any]:
    (file,) = (MONITORING / "grafana" / "dashboards").iterdir()
    return dict(json.loads(file.read_text("utf-8")))


def shown() -> list[str]:
    """The expressions of the dashboard."""
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def metrics_in(expression: str) -> set[str]:
    """The metrics that a PromQL expression names: what is neither a label, a function nor a word of the language."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    return set(re.findall(r"[a-zA-Z_:][\w:]*\b(?!\s*\()", bare)) - WORDS


def samples(text: str) -> set[str]:
    """Names of the samples in Prometheus's text format."""
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


@pytest.fixture
def exported(tmp_path: Path) -> set[str]:
    """Every metric there is to ask for."""
    from retrieval.web.metrics import METRICS

    parts = ("", "_bucket", "_sum", "_count")
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    names = {name + part for name in METRICS for part in parts} | samples(generate_latest(registry).decode())
    for job in ("ingest", "reindex"):
        gate = [{"check": "images", "value": 1.0}] if job == "reindex" else []
        write_metrics(tmp_path / job, IngestSummary("images", None), 0, job, gate)
        names |= samples((tmp_path / job).read_text("utf-8"))
    return names | PROMETHEUS | NODE_EXPORTER | QDRANT


def test_metrics_are_found_in_an_expression() -> None:
    expression = 'sum by (le) (rate(a_bucket{b="c} d"}[5m])) > 0.5 * e unless on (f) time() - g:h <= 9 and on () (i)'
    assert metrics_in(expression) == {"a_bucket", "e", "g:h", "i"}


def test_alerts_and_dashboard_ask_for_what_is_exported(exported: set[str]) -> None:
    asked = set().union(*(metrics_in(expression) for expression in [*(rule["expr"] for rule in rules()), *shown()]))
    assert len(asked) > 20
    assert asked - exported == set()


def test_the_dashboard_shows_all_that_the_service_exports() -> None:
    from retrieval.web.metrics import METRICS

    text = " ".join(shown())
    assert [name for name in METRICS if name not in text] == []


def test_qdrant_gives_its_numbers_to_who_bears_the_key(qdrant_binary: Path, tmp_path: Path) -> None:
    with (
        servers.running(tmp_path, QDRANT__SERVICE__API_KEY="sesame") as url,
        httpx.Client(base_url=url, headers={"Authorization": "Bearer sesame"}, timeout=10) as client,
    ):
        made = client.put("/collections/cats", json={"vectors": {"size": 4, "distance": "Euclid"}})
        assert made.status_code == 200
        assert client.post("/collections/cats/points/query", json={"limit": 1}).status_code == 200
        given = client.get("/metrics")
        assert httpx.get(f"{url}/metrics", timeout=10).status_code == 401
    assert given.status_code == 200
    assert set(re.findall(r"^[a-z_]+", given.text, re.MULTILINE)) >= QDRANT


def test_the_dashboard_is_whole() -> None:
    board = dashboard()
    (source,) = load(MONITORING / "grafana" / "datasources" / "prometheus.yml")["datasources"]
    panels = board["panels"]
    assert (board["uid"], board["title"]) == ("retrieval", "retrieval")
    assert board["schemaVersion"] >= 41
    assert len({panel["id"] for panel in panels}) == len(panels)
    titles = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert titles == ["Now", "Searches", "Refusals", "Latency", "Batches", "Jobs", "Machine"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, f"{panel['title']} lies on another"
        assert place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
            assert panel["targets"]


def test_every_alert_says_what_it_means_and_has_a_test_and_a_row_for_the_operator() -> None:
    names = {rule["alert"] for rule in rules()}
    tried: dict[str, set[bool]] = {}
    for test in load(MONITORING / "alerts_test.yml")["tests"]:
        for case in test["alert_rule_test"]:
            tried.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert tried.keys() == names
    quiet_too = {name for name, ends in tried.items() if ends == {True, False}}
    assert quiet_too == names
    page = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("\n## Monitoring\n")[2]
    explained = re.findall(r"^\| ([A-Z]\w+) \|", page, re.MULTILINE)
    assert explained == list(dict.fromkeys(rule["alert"] for rule in rules()))
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"].endswith(".")


def test_targets_are_containers_that_listen_there() -> None:
    known = services()
    assert known["serve"]["network_mode"] == "service:qdrant"
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in scraped()}
    assert targets == {"retrieval": ["qdrant:8000"], "qdrant": ["qdrant:6333"], "node": ["node-exporter:9100"]}
    assert {target.partition(":")[0] for (target,) in targets.values()} <= known.keys()
    (source,) = load(MONITORING / "grafana" / "datasources" / "prometheus.yml")["datasources"]
    assert source["url"].removeprefix("http://").partition(":")[0] in known
    named = set(re.findall(r'job="(\w+)"', " ".join([*(rule["expr"] for rule in rules()), *shown()])))
    assert named <= targets.keys()


def test_the_service_is_published_by_the_server_it_shares_a_network_with() -> None:
    serve, qdrant = services()["serve"], services()["qdrant"]
    assert "ports" not in serve
    assert "127.0.0.1:${SERVE_PORT:-8000}:8000" in qdrant["ports"]
    assert (serve["profiles"], serve["restart"]) == (["serve"], "unless-stopped")
    assert serve["command"] == ["--host", "0.0.0.0", "--port", "8000"]
    assert serve["environment"]["RETRIEVAL_API_KEY"] == "${RETRIEVAL_API_KEY:-}"


@pytest.mark.parametrize("name", WATCHERS)
def test_a_watcher_is_pinned_bounded_and_seen_from_here_only(name: str) -> None:
    service = services()[name]
    assert service["profiles"] == ["monitoring"]
    assert re.fullmatch(r"[a-z]+/[a-z-]+:v?\d+\.\d+\.\d+", service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert {"mem_limit", "pids_limit"} <= service.keys()
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    for mount in service["volumes"]:
        source, target, *mode = mount.split(":")
        own = name == source
        assert mode == ([] if own else ["ro"]), mount
        assert not source.startswith("./") or (ROOT / source).exists(), mount
        assert own or source in {"storage", "snapshots", "home"} or target.startswith("/etc/"), mount


def test_jobs_leave_their_numbers_where_node_exporter_looks() -> None:
    service = services()["node-exporter"]
    image = (ROOT / "infra" / "Dockerfile").read_text("utf-8")
    (home,) = re.findall(r"RETRIEVAL_HOME=(\S+)", image)
    assert f"--collector.textfile.directory={home}" in service["command"]
    assert f"home:{home}:ro" in service["volumes"]
    (account,) = re.findall(r"--uid (\d+)", image)
    assert service["user"] == f"{account}:{account}", "others may not look into the home"


def test_prometheus_finds_the_keys_in_files_that_others_cannot_read(tmp_path: Path) -> None:
    service = services()["prometheus"]
    shell, flags, script, program = (part.replace("$$", "$") for part in service["entrypoint"])
    named = [job["authorization"]["credentials_file"] for job in scraped() if "authorization" in job]
    assert all(name in script for name in named)
    fake = tmp_path / program
    fake.write_text('#!/bin/sh\necho "$@" "${QDRANT_API_KEY-unset}"\n')
    fake.chmod(0o755)
    for keys in ({"RETRIEVAL_API_KEY": "open", "QDRANT_API_KEY": "ses ame"}, dict.fromkeys(service["environment"], "")):
        done = subprocess.run(
            [shell, flags, script.replace("/tmp/", f"{tmp_path}/"), program, *service["command"]],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **keys},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert done.stdout.split() == [*service["command"], "unset"]
        for name, key in zip(named, keys.values(), strict=True):
            file = tmp_path / Path(name).name
            assert (file.read_text(), file.stat().st_mode & 0o077) == (key, 0)


def test_a_service_left_behind_by_its_server_ends_itself() -> None:
    need(shutil.which("unshare"), "unshare (util-linux)")
    script = (
        services()["serve"]["healthcheck"]["test"][3]
        .replace("$$", "$")
        .replace("kill 1", "echo ended")
        .partition("exec")[0]
    )
    alone = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script]
    done = subprocess.run(alone, capture_output=True, text=True, timeout=30, check=False)
    if "Operation not permitted" in done.stderr:
        pytest.skip("NOT TESTED: this machine lets nobody make a network namespace")
    assert done.stdout == "ended\n"
    lines = len([line for line in Path("/proc/net/dev").read_text().splitlines() if ":" in line])
    here = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert here.stdout == ("" if lines > 1 else "ended\n")


@pytest.fixture(scope="session")
def promtool() -> str:
    """Path of promtool: the machine's own, else what the project fetches."""
    found, bring = shutil.which("promtool"), ROOT / "scripts" / "bring"
    if not found and bring.exists():
        done = subprocess.run([bring, "promtool"], capture_output=True, text=True, timeout=280, check=False)
        found = done.stdout.strip() if done.returncode == 0 else None
    need(found, "promtool (as root: scripts/bring promtool)", root=True)
    return str(found)


def run(promtool: str, folder: Path, command: list[str]) -> tuple[int, str]:
    done = subprocess.run([promtool, *command], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["check", "config", "--syntax-only", "prometheus.yml"],  # or else it wants the files with the keys too
        ["check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ],
    ids=["config", "rules", "tests"],
)
def test_promtool_is_content(promtool: str, command: list[str]) -> None:
    code, said = run(promtool, MONITORING, command)
    assert code == 0, said


def test_promtool_sees_a_mistake(promtool: str, tmp_path: Path) -> None:
    for file in MONITORING.glob("alerts*.yml"):
        shutil.copy(file, tmp_path)
    alerts = tmp_path / "alerts.yml"
    alerts.write_text(alerts.read_text().replace("retrieval_engine_up == 0", "retrieval_engine_up == 1"))
    code, said = run(promtool, tmp_path, ["test", "rules", "alerts_test.yml"])
    assert code == 1
    assert "EngineDown" in said
