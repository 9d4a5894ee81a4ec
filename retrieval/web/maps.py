"""The map of the collection: drawn once for each state of it, by a process of its own, and kept on disk."""

import contextlib
import io
import itertools
import json
import logging
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval.api import Index
from retrieval.errors import RetrievalError
from retrieval.schema.arrays import Float
from retrieval.schema.records import Point, codes_of
from retrieval.util.files import replace_file
from retrieval.web.limits import MAP_SECONDS, MAPPED, MAX_FACETS

KEPT = 4
"""Maps kept on disk, 60 bytes an image."""
LARGEST = 64 * 2**20
AGAIN_SECONDS = 60.0
"""Seconds after a failure until it is tried again."""
SCALE = 65_535
"""Positions are whole numbers from 0 to this."""
PAGE = 1000
LOG = logging.getLogger("retrieval.web")


class Maps:
    """The live collection's map; at most one is drawn at a time, however many clients ask."""

    def __init__(self, index: Index) -> None:
        self._index, self._folder = index, index.settings.maps
        self._lock = threading.Lock()
        self._known: tuple[str, bytes] | None = None
        self._drawing: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._failed = ("", float("-inf"))
        self._closed = False

    def find(self) -> bytes | None:
        """The map as JSON; None while it is being drawn, or could not be. Starts drawing it if need be."""
        live = self._index.current()
        key = f"{live.collection}-{live.meta.neighbours_of}"  # counted again when a tenth of the images has changed
        with self._lock:
            if self._known and self._known[0] == key:
                return self._known[1]
            if (stored := self._read(key)) is not None:
                self._known = (key, stored)
                return stored
            again = self._failed[0] != key or time.monotonic() - self._failed[1] > AGAIN_SECONDS
            if again and not self._closed and (self._drawing is None or not self._drawing.is_alive()):
                self._drawing = threading.Thread(target=self._draw, args=(key, live.collection), daemon=True)
                self._drawing.start()
        return None

    def close(self) -> None:
        """Stop drawing."""
        self._closed = True
        if self._process:
            self._process.kill()

    def _draw(self, key: str, collection: str) -> None:
        try:
            pages = self._index.store.scroll(collection, codes=True, page=PAGE)
            points = [point for page in itertools.islice(pages, MAPPED // PAGE) for point in page]
            content = describe_map(points, self._lay_out(points))
            self._write(key, content)
            with self._lock:
                self._known = (key, content)
        except (RetrievalError, OSError, ValueError, subprocess.SubprocessError) as error:
            self._failed = (key, time.monotonic())
            if not self._closed:
                LOG.warning("the map cannot be drawn: %s", error)

    def _lay_out(self, points: Sequence[Point]) -> Float[np.ndarray, "n 2"]:
        given = io.BytesIO()
        np.save(given, codes_of(points), allow_pickle=False)
        command = [sys.executable, "-m", "retrieval.search.layout"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
            self._process = process
            try:
                answer, _ = process.communicate(given.getvalue(), timeout=MAP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        if process.returncode:
            raise subprocess.SubprocessError(f"the layout ended with {process.returncode}")
        return np.asarray(np.load(io.BytesIO(answer), allow_pickle=False))

    def _read(self, key: str) -> bytes | None:
        with contextlib.suppress(OSError, ValueError):
            file = self._folder / f"{key}.json"
            if file.stat().st_size <= LARGEST:
                content = file.read_bytes()
                json.loads(content)
                return content
        return None

    def _write(self, key: str, content: bytes) -> None:
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._folder / f"{key}.json", content)
            for old in sorted(self._folder.glob("*.json"), key=lambda file: -file.stat().st_mtime)[KEPT:]:
                old.unlink(missing_ok=True)


def describe_map(points: Sequence[Point], at: Float[np.ndarray, "n 2"]) -> bytes:
    """The map as JSON, a list for each field; a label is its place in `labels`, or -1 beyond the most frequent ones."""
    named = [point.payload.get("label") for point in points]
    labels = [label for label, _ in Counter(label for label in named if label is not None).most_common(MAX_FACETS)]
    places = {label: place for place, label in enumerate(labels)}
    whole = np.rint(at * SCALE).astype(int)
    content: dict[str, Any] = {
        "ids": [point.id for point in points],
        "x": whole[:, 0].tolist(),
        "y": whole[:, 1].tolist(),
        "label": [places.get(label, -1) for label in named],
        "labels": labels,
    }
    return json.dumps(content, separators=(",", ":")).encode()
