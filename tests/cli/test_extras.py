"""What needs a package of an extra says in one line which one to install, and nothing else needs it."""

import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest

from retrieval.errors import UsageError
from retrieval.ingest.ray.cluster import start_ray
from retrieval.util.extras import DISTRIBUTION
from tests.cli.conftest import Call
from tests.errors import raises
from tests.sources.conftest import put

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
IMPORTERS = (
    *("retrieval.ops.export", "retrieval.sources.parquet", "retrieval.sources.saved_dataset"),
    *("retrieval.web", "retrieval.web.app"),
)
"""Modules, and rooms, that import a package of an extra as they are imported."""


@pytest.mark.parametrize(
    ("package", "extra", "given", "code"),
    [
        ("fastapi", "serve", ["serve", "--port", 0], 2),
        ("pyarrow", "parquet", ["export", "codes.parquet"], 2),
        ("pyarrow", "parquet", ["ingest", "some.parquet"], 1),
        ("pyarrow", "parquet", ["train", "some.parquet"], 1),
        ("pyarrow", "parquet", ["ingest", "saved"], 1),
    ],
)
def test_an_extra_that_is_missing_is_named(
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    extra: str,
    given: list[object],
    code: int,
) -> None:
    put(tmp_path, "some.parquet", "saved/state.json", "saved/dataset_info.json")
    for name in [*sys.modules]:
        if name.startswith(IMPORTERS):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    said = call(*given).error(code, f"{package}, which is not installed")
    assert said.endswith(f"; pip install '{DISTRIBUTION}[{extra}]'")


def test_ray_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    missing = raises(UsageError, "ray", option="runner", hint=f"pip install '{DISTRIBUTION}[ray]'")
    with missing, start_ray(None):
        pass


def test_the_advice_names_this_project_and_its_extras() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    found = importlib.metadata.metadata(DISTRIBUTION)
    assert set(found.get_all("Provides-Extra") or ()) == PROJECT["optional-dependencies"].keys()
    for word in PROJECT["license"].split(" AND "):
        assert word in found["License-Expression"]
