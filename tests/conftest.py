"""What every test gets: a home of its own, and, when asked for, a real server and real data."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.store import servers

# Before anything imports JAX, for this process and those that it starts, unless the caller has other wishes.
# A training step is then compiled in a third of the time and computes the same: most tests take a few steps only.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.pop("PYTHONUNBUFFERED", None)  # as it is for users


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def need(found: object, what: str, *, root: bool = False) -> None:
    """Fail in CI, skip loudly elsewhere, unless the thing that a test cannot do without is there.

    root: only root can bring it, so that CI skips too where it runs as somebody else
    """
    if found:
        return
    if os.environ.get("CI") and not (root and os.geteuid()):
        pytest.fail(f"CI must have {what}")
    pytest.skip(f"NOT TESTED, for want of {what}")


def shared_root(factory: pytest.TempPathFactory) -> Path:
    """The folder of this test run, the same for all its processes."""
    root = factory.getbasetemp()
    return root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills once, whatever the number of processes that run the tests. Not to be changed."""
    root = shared_root(factory)
    folder, done = root / name, root / f"{name}.done"
    with FileLock(root / f"{name}.lock", timeout=300):
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def xla_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which this process keeps what it compiles, and finds what others have compiled.

    For tests that run JAX in this process; what they start as a process of its own has the cache of its home.
    """
    from tests import compiled

    folder = shared_root(tmp_path_factory) / "xla"
    compiled.share(folder)
    return folder


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test away from the user's own models, collections, data and server."""
    for name in ("QDRANT_URL", "QDRANT_API_KEY", "RETRIEVAL_DATA"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    monkeypatch.setenv("RETRIEVAL_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that run in this process decode in threads: most read a handful of images, and a process takes longer.

    Jobs in processes of their own are as users run them.
    """
    from retrieval.sources import read

    monkeypatch.setattr(read, "Processes", lambda number, load, portable: read.Threads(number, load))


@pytest.fixture(scope="session")
def data_root() -> Path | None:
    """$RETRIEVAL_DATA as it was given to the test run; `own_home` hides it from the tests themselves."""
    given = os.environ.get("RETRIEVAL_DATA")
    return Path(given).absolute() if given else None


@pytest.fixture(scope="session")
def mnist_dir(data_root: Path | None) -> Path:
    """Folder that holds all of MNIST as IDX files; skipped in CI too if $RETRIEVAL_DATA is not set."""
    if data_root is None:
        pytest.skip("NOT TESTED, for want of all of MNIST: set RETRIEVAL_DATA to a folder that holds mnist/")
    need(any((data_root / "mnist").glob("*-ubyte*")), f"all of MNIST in {data_root}/mnist")
    return data_root / "mnist"


@pytest.fixture(scope="session")
def qdrant_binary() -> Path:
    """The real server's binary, fetched if need be."""
    found = servers.qdrant("path")
    need(found.returncode == 0, f"a Qdrant server ({found.stderr.strip()})")
    return Path(found.stdout.strip())


@pytest.fixture(scope="session")
def qdrant_url(qdrant_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server that all tests share: use collection names of your own, and drop them."""
    with servers.running(tmp_path_factory.mktemp("qdrant")) as url:
        yield url
