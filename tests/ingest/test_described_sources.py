"""What a source says of its images reaches their points, and is not written again while it stays the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from retrieval.config import Settings
from retrieval.errors import SourceError
from retrieval.ingest.job import ingest
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.ray.worker import pack_entries
from retrieval.ingest.summary import IngestSummary
from retrieval.sources import open_source
from retrieval.store.base import Store
from tests.errors import raises
from tests.ingest.conftest import ALIAS, Quadrants, by_path
from tests.sources.test_archive import pack
from tests.sources.test_parquet import images
from tests.sources.test_tables import save

Go = Callable[..., IngestSummary]


@pytest.fixture
def go(store: Store, encoder: Quadrants, tmp_path: Path) -> Go:
    """Ingest a source."""

    def run(spec: Path, **options: Any) -> IngestSummary:
        source = open_source(str(spec), Settings(home=tmp_path / "home"))
        return ingest(store, encoder, [source], ALIAS, IngestOptions(**options), ledgers=tmp_path / "refused")

    return run


def pack_shard(folder: Path, root: Path, caption: str) -> Path:
    """A WebDataset shard of the root's images, each with a label and a caption."""
    contents: dict[str, bytes] = {}
    for number, file in enumerate(sorted(root.rglob("*.png"))):
        contents |= {
            f"{number:03}.png": file.read_bytes(),
            f"{number:03}.cls": str(number % 3).encode(),
            f"{number:03}.txt": f"{caption} {number}".encode(),
            f"{number:03}.json": b'{"width": 7, "score": 0.5}',
        }
    return pack(folder, "tar", contents)


def test_a_webdataset_shard(go: Go, store: Store, root: Path, tmp_path: Path) -> None:
    shard = pack_shard(tmp_path, root, "image")
    assert (go(shard).encoded, go(shard).unchanged) == (30, 30)
    before = by_path(store)
    kept = {"label": "1", "caption": "image 1", "score": 0.5, "width": 8}
    assert kept.items() <= before["001.png"].payload.items()
    said = go(pack_shard(tmp_path, root, "picture"), metadata={("pics", "002.png"): {"caption": "mine"}})
    assert (said.encoded, said.new, said.described) == (0, 0, 1)
    after = by_path(store)
    assert {path: point.id for path, point in after.items()} == {path: point.id for path, point in before.items()}
    assert [after[f"00{n}.png"].payload["caption"] for n in (1, 2)] == ["picture 1", "mine"]
    source = open_source(str(shard), Settings(home=tmp_path / "home"))
    assert pack_entries(list(source.entries()), source)[1][3:] == ["1", None, {"caption": "picture 1", "score": 0.5}]


def test_a_shard_cut_in_the_middle_changes_nothing(go: Go, store: Store, root: Path, tmp_path: Path) -> None:
    shard = pack_shard(tmp_path, root, "image")
    go(shard)
    shard.write_bytes(shard.read_bytes()[:-20_000])
    with raises(SourceError, shard, "archive", hint="complete"):
        go(shard, prune=True)
    assert len(by_path(store)) == 30


def test_a_saved_data_set(go: Go, store: Store, root: Path, tmp_path: Path) -> None:
    data = [file.read_bytes() for file in sorted(root.rglob("*.png"))]
    columns = {
        "image": images(data, [None] * 30),
        "label": pa.array([0, 1] * 15),
        "caption": pa.array([f"image {number}" for number in range(30)]),
    }
    save(tmp_path / "pets", columns)
    assert (go(tmp_path / "pets").encoded, go(tmp_path / "pets").unchanged) == (30, 30)
    before = by_path(store)
    assert {"label": "dog", "caption": "image 1"}.items() <= before["00000001.png"].payload.items()
    save(tmp_path / "pets", columns, files=3)  # the same rows in other files
    said = go(tmp_path / "pets")
    assert (said.encoded, said.unchanged) == (0, 30)
    assert {path: point.id for path, point in by_path(store).items()} == {path: p.id for path, p in before.items()}
    save(tmp_path / "pets", {name: column[:20] for name, column in columns.items()})
    assert (go(tmp_path / "pets", prune=True, max_delete=0.5).deleted, len(by_path(store))) == (10, 20)
