"""The files for a cluster of three: a compose file on one machine, and values for Qdrant's Helm chart."""

import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
NODES = ("qdrant-1", "qdrant-2", "qdrant-3")
CHART_KNOWS = {
    "affinity",
    "additionalVolumeMounts",
    "additionalVolumes",
    "apiKey.valueFrom.secretKeyRef",
    "config",
    "containerSecurityContext",
    "env",
    "image.tag",
    "image.useUnprivilegedImage",
    "metrics.serviceMonitor.enabled",
    "metrics.serviceMonitor.relabelings",
    "persistence.size",
    "podDisruptionBudget.enabled",
    "podDisruptionBudget.maxUnavailable",
    "podSecurityContext",
    "readOnlyApiKey.valueFrom.secretKeyRef",
    "replicaCount",
    "resources",
    "snapshotPersistence.enabled",
    "snapshotPersistence.size",
    "topologySpreadConstraints",
    "updateVolumeFsOwnership",
}
"""Read in github.com/qdrant/qdrant-helm, charts/qdrant/values.yaml of c8ae2d1 and values.schema.json of 1123946, as far
down as the chart looks: it passes on what is below. Helm says nothing of a value that the chart does not know."""


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


@pytest.fixture
def cluster() -> dict[str, Any]:
    return dict(load(INFRA / "docker-compose.cluster.yml"))


@pytest.fixture
def single() -> dict[str, Any]:
    return dict(load(ROOT / "docker-compose.yml")["services"]["qdrant"])


@pytest.fixture
def values() -> dict[str, Any]:
    return dict(load(INFRA / "kubernetes" / "qdrant-values.yaml"))


def test_a_node_is_kept_as_the_single_server_is(cluster: dict[str, Any], single: dict[str, Any]) -> None:
    assert tuple(cluster["services"]) == NODES
    own = {"ports", "volumes", "environment"}
    for name, node in cluster["services"].items():
        assert node.items() >= {key: value for key, value in single.items() if key not in own}.items(), name
        assert node["environment"] == [*single["environment"], "QDRANT__CLUSTER__ENABLED=true"], name
    # Compose would mix up the volumes of two projects of one name.
    assert cluster["name"] != load(ROOT / "docker-compose.yml")["name"]


def test_one_port_of_each_node_is_published_on_loopback_only(cluster: dict[str, Any]) -> None:
    published = [node["ports"] for node in cluster["services"].values()]
    assert published == [[f"127.0.0.1:{port}:6333"] for port in (6333, 6343, 6353)]


def test_a_node_has_volumes_of_its_own(cluster: dict[str, Any], single: dict[str, Any]) -> None:
    named = set()
    for name, node in cluster["services"].items():
        mounts = {target: source for source, target, *_ in (volume.split(":") for volume in node["volumes"])}
        assert mounts.keys() == {volume.split(":")[1] for volume in single["volumes"]}, name
        for target in ("/qdrant/config/production.yaml", "/qdrant/healthcheck"):
            assert (INFRA / mounts.pop(target)).is_file(), "relative to the compose file, unlike in the other one"
        named |= set(mounts.values())
    assert named == cluster["volumes"].keys()
    assert len(named) == 2 * len(NODES)


def test_the_first_node_founds_the_cluster_and_the_others_join_it(cluster: dict[str, Any]) -> None:
    first, *others = cluster["services"].values()
    assert first["entrypoint"] == ["./entrypoint.sh"]
    assert first["command"] == ["--uri", "http://qdrant-1:6335"]
    assert "depends_on" not in first
    for before, name, node in zip(NODES, NODES[1:], others, strict=False):
        joins = ["--bootstrap", "http://qdrant-1:6335", "--uri", f"http://{name}:6335"]
        assert node["command"] == [before, *joins]
        # A list waits for "started". With "healthy" a stopped cluster would never start again: its first node answers
        # no query of a collection, some of whose shards are on the other two, before one of them is back.
        assert isinstance(node["depends_on"], list)
        assert before in node["depends_on"]


@pytest.mark.parametrize("listens", [True, False], ids=["the one before listens", "the one before is gone"])
def test_a_node_waits_for_the_one_before_but_not_for_ever(
    cluster: dict[str, Any], listens: bool, tmp_path: Path
) -> None:
    *shell, script = cluster["services"]["qdrant-2"]["entrypoint"]
    for name, body in (("sleep", 'echo "sleep $1"'), ("entrypoint.sh", 'echo "start $*"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    with socket.socket() as node:
        address = f"127.71.{tmp_path.stat().st_ino % 250 + 1}.9"  # with the port that is written down
        node.bind((address, 6335))
        if listens:
            node.listen()
        done = subprocess.run(
            [*shell, script.replace("$$", "$"), address, "--bootstrap", "http://a:6335"],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    waited = [] if listens else ["sleep 1"] * 30
    assert done.stdout.splitlines() == [*waited, "sleep 2", "start --bootstrap http://a:6335"]


def known(values: dict[str, Any], before: str = "") -> set[str]:
    """The names of values, down to one in CHART_KNOWS or to what is no mapping."""
    found = set()
    for key, value in values.items():
        name = f"{before}{key}"
        found |= known(value, f"{name}.") if isinstance(value, dict) and name not in CHART_KNOWS else {name}
    return found


def test_the_chart_knows_every_value(values: dict[str, Any]) -> None:
    assert known(values) == CHART_KNOWS
    assert known({"image": {"tags": "v1"}}) == {"image.tags"}


def test_chart_compose_and_page_name_one_version(values: dict[str, Any], single: dict[str, Any]) -> None:
    tag = values["image"]["tag"]
    assert single["image"] == f"qdrant/qdrant:{tag}"
    for path in (INFRA / "kubernetes" / "qdrant-values.yaml", ROOT / "docs" / "operations.md"):
        assert re.findall(r"qdrant/qdrant --version (\S+)", path.read_text("utf-8")) == [tag[1:]], path.name


def test_the_values_encrypt_and_write_no_key_down(values: dict[str, Any]) -> None:
    config = values["config"]
    assert config["cluster"] == {"enabled": True, "p2p": {"enable_tls": True}}
    assert config["service"]["enable_tls"] is True, "retrieval sends no key over plain http"
    (mount,), (volume,) = values["additionalVolumeMounts"], values["additionalVolumes"]
    assert mount["name"] == volume["name"]
    assert {str(Path(file).parent) for file in config["tls"].values()} == {mount["mountPath"]}
    single = load(INFRA / "qdrant.yaml")
    for name in ("telemetry_disabled", "log_level"):
        assert config[name] == single[name]
    assert config["service"]["enable_cors"] == single["service"]["enable_cors"]
    reference = values["apiKey"]["valueFrom"]["secretKeyRef"]
    job = load(INFRA / "kubernetes" / "ingest.yaml")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = job["containers"]
    wanted = next(variable for variable in container["env"] if variable["name"] == "QDRANT_API_KEY")
    assert reference == wanted["valueFrom"]["secretKeyRef"], "the jobs' own"
    read_only = values["readOnlyApiKey"]["valueFrom"]["secretKeyRef"]
    assert read_only["name"] == reference["name"]
    assert read_only["key"] != reference["key"]
    assert values["env"] == [{"name": "QDRANT__SERVICE__API_KEY", "valueFrom": values["apiKey"]["valueFrom"]}]


def test_kubernetes_takes_what_the_chart_passes_on(values: dict[str, Any]) -> None:
    """Not the chart's own template, but each value where it puts it."""
    labels = {"app.kubernetes.io/name": "qdrant", "app.kubernetes.io/instance": "qdrant"}
    container = {
        "name": "qdrant",
        "image": f"qdrant/qdrant:{values['image']['tag']}-unprivileged",
        "env": values["env"],
        "resources": values["resources"],
        "securityContext": values["containerSecurityContext"],
        "volumeMounts": values["additionalVolumeMounts"],
    }
    pod = {
        "containers": [container],
        "securityContext": values["podSecurityContext"],
        "affinity": values["affinity"],
        "topologySpreadConstraints": values["topologySpreadConstraints"],
        "volumes": values["additionalVolumes"],
    }
    stateful_set = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "qdrant"},
        "spec": {
            "replicas": values["replicaCount"],
            "serviceName": "qdrant-headless",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    for version in ("1.31", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(stateful_set, version, strict=True)
    (apart,) = values["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (spread,) = values["topologySpreadConstraints"]
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    assert apart["labelSelector"] == spread["labelSelector"] == {"matchLabels": labels}
    assert values["containerSecurityContext"]["runAsNonRoot"] is True
    assert values["updateVolumeFsOwnership"] is False, "else a container of root's"
    assert values["resources"]["limits"]["memory"]


def test_a_majority_outlives_what_the_values_allow(values: dict[str, Any]) -> None:
    budget = values["podDisruptionBudget"]
    assert budget == {"enabled": True, "maxUnavailable": 1}
    assert values["replicaCount"] - budget["maxUnavailable"] > values["replicaCount"] / 2
