"""One cluster for all tests of a process: each leaves it whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import call  # noqa: F401 - a fixture
from tests.cluster.nodes import Cluster
from tests.store import servers


@pytest.fixture(scope="session")
def cluster(qdrant_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that know each other."""
    folder = tmp_path_factory.mktemp("cluster")
    started = servers.qdrant("cluster", "start", "--dir", str(folder))
    assert started.returncode == 0, started.stderr
    yield Cluster(folder, started.stdout.split())
    assert servers.qdrant("cluster", "stop", "--dir", str(folder)).returncode == 0
