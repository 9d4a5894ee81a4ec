"""Fields of a metadata file, from the command line to the points of both engines."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from retrieval.ingest.job import ingest
from retrieval.ingest.metadata import load_metadata
from retrieval.ingest.options import IngestOptions
from retrieval.sources.folder import Folder
from retrieval.store.base import Store, resolve
from tests.cli.conftest import Call
from tests.errors import mentions
from tests.ingest.conftest import Quadrants
from tests.ingest.jobs import Place, make_digits
from tests.store.conftest import (
    ENGINES,
    numbers,  # a fixture
)
from tests.store.conftest import open_engine as open_engine  # a fixture

NAN, INF = math.nan, math.inf


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Store]:
    opened: Store = request.getfixturevalue("open_engine")(request.param)
    yield opened
    opened.close()


def test_a_number_that_is_none_is_missing_on_both_engines(engine: Store, root: Path, tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "path": ["a/00.png", "b/01.png", "c/02.png"],
        "weight": [NAN, 2.5, INF],
        "small": pa.array([1.5, NAN, -INF], pa.float32()),
        "label": [NAN, 7.0, None],
    }
    parquet.write_table(pa.table(columns), tmp_path / "about.parquet")
    said = load_metadata(tmp_path / "about.parquet", "path", ["root"])
    alias = f"test-said-{next(numbers)}"
    ingest(
        engine, Quadrants(), [Folder("root", root)], alias, IngestOptions(metadata=said), ledgers=tmp_path / "refused"
    )
    pages = engine.scroll(resolve(engine, alias))
    found = {point.payload["path"]: point.payload for page in pages for point in page}
    named = {
        path: {name: found[path].get(name, "none") for name in columns if name != "path"} for path in columns["path"]
    }
    assert named == {
        "a/00.png": {"weight": "none", "small": 1.5, "label": "none"},
        "b/01.png": {"weight": 2.5, "small": "none", "label": "7.0"},
        "c/02.png": {"weight": "none", "small": "none", "label": "none"},
    }


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Path, Path]:
    """Two sources with a key of the same name, which is a different image in each."""
    make_digits(tmp_path / "all", 2)
    first, second = sorted((tmp_path / "all").rglob("*.png"))
    for name, file in (("cats", first), ("dogs", second)):
        (tmp_path / name).mkdir()
        file.rename(tmp_path / name / "0.png")
    return tmp_path / "cats", tmp_path / "dogs"


def notes(place: Place) -> dict[str, Any]:
    return {point.payload["source"]: point.payload.get("note") for point in place.points().values()}


def test_rows_for_several_sources_must_say_which_they_mean(
    place: Place, twins: tuple[Path, Path], call: Call, tmp_path: Path
) -> None:
    about = tmp_path / "about.csv"
    about.write_text("path,note\n0.png,purrs\n")
    call("ingest", *twins, "--metadata", about, *place.options()).error(2, about, "'source'", "0.png", "cats, dogs")
    assert place.stored == -1, "nothing was done"

    about.write_text("path,note,source\n0.png,purrs,cats\n0.png,chirps,birds\n")
    assert call("ingest", *twins, "--metadata", about, *place.options()).code == 0
    assert notes(place) == {"cats": "purrs", "dogs": None}
    about.write_text("source,path,note\ndogs,0.png,barks\ncats,0.png,meows\n")
    assert call("ingest", *twins, "--metadata", about, *place.options()).code == 0
    assert notes(place) == {"cats": "meows", "dogs": "barks"}


def test_rows_for_another_source_are_not_taken_for_the_one_there_is(
    place: Place, twins: tuple[Path, Path], call: Call, tmp_path: Path
) -> None:
    about = tmp_path / "about.csv"
    about.write_text("path,note,source\n0.png,barks,dogs\n")
    done = call("ingest", twins[0], "--metadata", about, *place.options())
    assert done.code == 0
    assert notes(place) == {"cats": None}
    assert done.err.startswith("warning: ")
    assert [part for part in (about, "'path'", "'source'", "cats") if not mentions(done.err, part)] == []
    about.write_text("path,note\n0.png,purrs\n")
    assert call("ingest", twins[0], "--metadata", about, *place.options()).err == ""
    assert notes(place) == {"cats": "purrs"}
