"""A collection of sixty images on either engine, and a re-index of it as a process that may be killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.config import Settings
from retrieval.images.decode import encode_png
from retrieval.ingest.job import ingest
from retrieval.schema.records import CollectionMeta
from retrieval.sources.folder import Folder
from retrieval.store import open_store
from retrieval.store.base import Store, resolve
from tests.cli.conftest import environment, finished
from tests.processes import ROOT, Process
from tests.reindex.encoders import SIDE, Shades

PICTURES = 60
LIGHT = {"dark": 40, "grey": 120, "light": 200}

CHILD = """
import os, signal, sys, threading
from tests.reindex import encoders
from tests.reindex.places import Place
from retrieval.reindex.job import reindex
home, url, alias, step, seed, seconds = sys.argv[1:]
place = Place(home, url or None, alias)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def watch(name, outcome):
    global step
    if name == step:
        step = None
        threading.Timer(float(seconds), die).start() if float(seconds) else die()

with place.opened() as store:
    reindex(store, alias, lambda sources: encoders.Shades(int(seed)), place.settings, step=watch)
"""
"""A re-index that is killed when the given step begins, or that many seconds later."""


def make_pictures(root: Path, count: int = PICTURES) -> Path:
    """Different images in a folder for each shade."""
    rng = np.random.default_rng(0)
    for number in range(count):
        shade = list(LIGHT)[number % len(LIGHT)]
        file = root / shade / f"{number:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(-30, 31, (SIDE, SIDE, 1))
        file.write_bytes(encode_png((LIGHT[shade] + noise).astype(np.uint8)))
    return root


@dataclass(frozen=True)
class Place:
    """A home, and an alias on one of the engines."""

    home: Path | str
    url: str | None
    alias: str

    @property
    def settings(self) -> Settings:
        return Settings(home=Path(self.home), qdrant_url=self.url)

    @contextmanager
    def opened(self) -> Iterator[Store]:
        with open_store(self.settings) as store:
            yield store

    def ingest(self, root: Path, encoder: Shades) -> str:
        """Ingest the root's images, with the shades as labels."""
        with self.opened() as store:
            source = Folder("pictures", root, labels=True)
            ingest(store, encoder, [source], self.alias, ledgers=self.settings.refused)
            return resolve(store, self.alias)

    def killed(self, step: str, seed: int, seconds: float = 0.0) -> None:
        """Re-index with this seed's encoder, killed when the step begins, or that much later."""
        arguments = [str(self.home), self.url or "", self.alias, step, str(seed), str(seconds)]
        with Process(CHILD, *arguments, environment=environment(Path(self.home)), folder=ROOT) as process:
            done = finished(process)
        assert done.code == -9, done.err

    def answers(self, store: Store, root: Path, encoders: list[Shades]) -> CollectionMeta:
        """Check that the alias's collection holds each image, with embeddings of the model that it names."""
        live = resolve(store, self.alias)
        meta = store.metadata(live)
        encoder = next(encoder for encoder in encoders if encoder.fingerprint == meta.model)
        points = [point for page in store.scroll(live, codes=True) for point in page]
        assert len(points) == len(list(root.rglob("*.png")))
        codes = np.array([point.code for point in points], np.float32)
        assert codes.shape[1] == encoder.config.dim
        for point, hits in zip(points, store.query(live, codes, 1), strict=True):
            assert hits[0].distance < 1e-3, point.payload["path"]
        return meta

    def mine(self, store: Store) -> list[str]:
        """Collections of the alias."""
        return [name for name in store.collections() if name.startswith(f"{self.alias}-2")]
