"""Whole jobs as a user runs them: processes that a test may stop, and functions to read what they stored."""

import dataclasses
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from retrieval.config import Settings
from retrieval.images.decode import encode_png
from retrieval.model import saved_models
from retrieval.model.autoencoder import build, to_flat
from retrieval.model.config import ModelConfig
from retrieval.model.saved_models import SavedModel
from retrieval.schema.records import Point
from retrieval.sources.dataset import open_dataset
from retrieval.store import open_store
from retrieval.store.base import resolve
from retrieval.store.qdrant.lock import LOCKS
from tests.cli.conftest import SECONDS, Done, environment, finished
from tests.processes import Process

MODEL = ModelConfig((28, 28), 1, 16, (8, 16), (0, 0))

COUNTING = """
import os, sys
from retrieval import cli
from retrieval.model.encoder_process import EncoderProcess
file = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
uncounted = EncoderProcess.encode
def encode_and_count(self, images):
    os.write(file, bytes(len(images)))
    return uncounted(self, images)
EncoderProcess.encode = encode_and_count
cli.main()
"""
"""The real command; its first argument is a file that grows by a byte for each image it encodes, even when killed."""


def make_model(home: Path, seed: int = 7) -> SavedModel:
    """An untrained model, set as the default; it is enough to test storing."""
    weights = {name: np.asarray(array) for name, array in to_flat(build(MODEL, seed)[1]).items()}
    model = saved_models.save(home / "models", MODEL, weights, {}, reconstructions=b"")
    saved_models.set_default(model)
    return model


def make_digits(folder: Path, count: int) -> Path:
    """This many different digits as PNG files, in a folder for each label."""
    seen: set[bytes] = set()
    for entry in open_dataset("mnist-sample:train", Settings(home=folder), "digits", None).entries():
        pixels = entry.read()[-28 * 28 :]
        if pixels not in seen and len(seen) < count:
            seen.add(pixels)
            path = folder / str(entry.label) / f"{entry.key}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(np.frombuffer(pixels, np.uint8).reshape(28, 28, 1)))
    assert len(seen) == count
    return folder


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a test's job stores embeddings: a home of its own, and an alias of its own on a shared server."""

    home: Path
    url: str | None
    alias: str

    @property
    def encoded(self) -> int:
        """Images that the processes of `started` have encoded."""
        return self._encoded.stat().st_size if self._encoded.exists() else 0

    @property
    def _encoded(self) -> Path:
        return self.home / "encoded"

    @property
    def stored(self) -> int:
        """Points that the engine has acknowledged, -1 before there is a collection; does not disturb the job."""
        if self.url:
            return count(self.url, self.alias)
        root = self.home / "embedded"
        try:
            collection = json.loads((root / "aliases.json").read_text())[self.alias]
        except (FileNotFoundError, KeyError):
            return -1
        return int(json.loads((root / "collections" / collection / "manifest.json").read_text())["count"])

    def points(self) -> dict[str, Point]:
        """Every point by id, with its embedding, read without the command line."""
        with open_store(Settings(home=self.home, qdrant_url=self.url)) as store:
            store.check()
            pages = list(store.scroll(resolve(store, self.alias), codes=True))
        found = {point.id: point for page in pages for point in page}
        assert len(found) == sum(map(len, pages)), "a point came twice"
        return found

    def collections(self) -> list[str]:
        """Collections made for its alias, including those without an alias."""
        with open_store(Settings(home=self.home, qdrant_url=self.url)) as store:
            return [name for name in store.collections() if name.startswith(f"{self.alias}-2")]

    def options(self, url: str | None = None) -> list[str]:
        """Options of the command line that select this place."""
        server = url or self.url
        return ["--alias", self.alias, *(["--qdrant-url", server] if server else [])]

    @contextmanager
    def started(self, *arguments: object, url: str | None = None) -> Iterator[Process]:
        """`retrieval ingest` in a session of its own, which is killed at the end of the block. url: a proxy's."""
        with Process(
            COUNTING,
            self._encoded,
            "ingest",
            *arguments,
            *self.options(url),
            environment=environment(self.home),
            own_session=True,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def ingest(self, *arguments: object, url: str | None = None) -> Done:
        """Run `started` to its end."""
        with self.started(*arguments, url=url) as process:
            return finished(process)


def count(url: str, collection: str, where: dict[str, Any] | None = None) -> int:
    """Points as the server counts them, -1 if there is no such collection or alias."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    body = json.dumps({"exact": True, "filter": where}).encode()
    endpoint = f"{url}/collections/{collection}/points/count"
    request = urllib.request.Request(endpoint, body, {"Content-Type": "application/json"})
    try:
        with direct.open(request, timeout=SECONDS) as answer:
            return int(json.load(answer)["result"]["count"])
    except urllib.error.HTTPError as refusal:
        with refusal:
            if refusal.code != 404:
                raise
        return -1


def until(condition: Callable[[], bool], process: "Process | subprocess.Popen[str]") -> None:
    """Wait for something that the process must do."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None, f"it was over before that: {process.communicate()}"
        assert time.monotonic() < end
        time.sleep(0.001)


def nobody_is_left(process: Process) -> None:
    """Wait until the whole session of a dead process has ended, its workers too."""
    end = time.monotonic() + SECONDS
    while left := members(process.pid):
        assert time.monotonic() < end, f"processes that outlived the one that started them: {left}"
        time.sleep(0.01)


def members(group: int) -> list[str]:
    """Living processes of a group, without zombies."""
    command = ["ps", "-A", "-o", "pgid=", "-o", "state=", "-o", "args="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in listed if int(line.split()[0]) == group and line.split()[1][0] != "Z"]


def is_locked(place: Place) -> bool:
    """Whether a job holds the place's lock; on a server, also after it has died."""
    if place.url is None:
        lock = place.home / "embedded" / "lock"
        return (lock.parent / "holder.json").exists() and not is_free(lock)
    mine = {"key": "alias", "match": {"value": place.alias}}
    return count(place.url, LOCKS, {"must": [mine], "must_not": [{"key": "holder", "match": {"value": ""}}]}) > 0


def is_free(lock: Path) -> bool:
    """Whether nobody holds the lock of an embedded engine's folder."""
    try:
        with filelock.FileLock(lock, timeout=0):
            return True
    except filelock.Timeout:
        return False


def same_points(found: dict[str, Point], expected: dict[str, Point]) -> None:
    """The same ids, payloads (except for their time), and embeddings."""
    assert found.keys() == expected.keys()
    for id_, point in expected.items():
        assert {**found[id_].payload, "ingested_at": ""} == {**point.payload, "ingested_at": ""}
    mine, theirs = (np.array([points[id_].code for id_ in expected]) for points in (found, expected))
    np.testing.assert_allclose(mine, theirs, atol=1e-5)
