"""The program as a user runs it: as a process with a home folder, or, where many small cases run, in this process.

The costly parts are made once a session: a home with a model trained for one epoch, two hundred PNG files, and a
home that holds their codes. A test that changes a home works on a copy.
"""

import dataclasses
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.cli import main
from retrieval.config import Settings
from retrieval.images.decode import encode_png
from retrieval.sources.dataset import open_dataset
from tests.conftest import made_once
from tests.errors import mentions
from tests.processes import RETRIEVAL, Process

PICTURES = 200
SECONDS = 120
ZEROS = bytes(2**16)


@dataclasses.dataclass(frozen=True)
class Done:
    """What a finished run left behind."""

    code: int
    out: str
    err: str

    @property
    def object(self) -> dict[str, Any]:
        """The one object on stdout."""
        (only,) = self.objects
        return only

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Each line of stdout is an object."""
        return [json.loads(line) for line in self.out.splitlines()]

    def error(self, code: int = 1, *named: Any, option: str = "") -> str:
        """The last line of stderr, once it is certain that the run failed the way a run has to fail.

        named: what the line has to contain, as `tests.errors.raises` takes it, with what the hint names
        option: the one that is wrong, as it is typed
        """
        assert self.code == code, self.err
        assert "Traceback" not in self.err
        assert self.out == ""
        last = self.err.splitlines()[-1]
        assert last.startswith("error: ")
        assert "(a bug;" not in last
        assert last.startswith(f"error: {option}: " if option else "error: "), last
        assert [part for part in named if not mentions(last, part)] == [], last
        return last


def environment(home: Path, **more: str) -> dict[str, str]:
    """The caller's environment without its own settings of the program."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("QDRANT_", "RETRIEVAL_"))}
    return {**mine, "RETRIEVAL_HOME": str(home), **more}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "retrieval", *map(str, arguments)]


def run(*arguments: object, home: Path, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Done:
    """Run `retrieval` as a process of its own, its output in pipes."""
    told = stdin.decode(errors="surrogateescape")
    with Process(RETRIEVAL, *arguments, environment=environment(home, **(env or {})), folder=home.parent) as process:
        return finished(process, told)


def finished(process: Process, stdin: str = "") -> Done:
    """What the process left behind."""
    out, err = process.communicate(stdin, timeout=SECONDS)
    assert process.returncode is not None
    return Done(process.returncode, out, err)


def done_well(*arguments: object, home: Path, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Done:
    """`run`, and it must have gone well."""
    done = run(*arguments, home=home, stdin=stdin, env=env)
    assert done.code == 0, done.err
    return done


Call = Callable[..., Done]


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    own_home: Path,
    tmp_path: Path,
    xla_cache: Path,
) -> Call:
    """Run `retrieval` in this process, with this test's own home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.root.manager, "disable", logging.root.manager.disable)  # the command line sets it

    def run_here(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["retrieval", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        text = capsys.readouterr()
        return Done(int(stopped.value.code or 0), text.out, text.err)

    return run_here


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `pictures` of 200 digits as PNG files, in a folder for each label."""

    def make(folder: Path) -> None:
        source = open_dataset("mnist-sample:train", Settings(), "digits", None)
        for entry, _ in zip(source.entries(), range(PICTURES), strict=False):
            pixels = np.frombuffer(entry.read()[-28 * 28 :], np.uint8).reshape(28, 28, 1)
            path = folder / str(entry.label) / f"{entry.key}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(pixels))

    return made_once(tmp_path_factory, "pictures", make)


def copy(source: Path, target: Path) -> Path:
    """A copy of a home that leaves holes as holes: Edge's files are 300 MB of zeros with little in them."""

    def sparsely(source: str, target: str) -> None:
        with Path(source).open("rb") as old, Path(target).open("wb") as new:
            while block := old.read(len(ZEROS)):
                if block == ZEROS:
                    new.seek(len(block), os.SEEK_CUR)
                else:
                    new.write(block)
            new.truncate()

    return Path(shutil.copytree(source, target, copy_function=sparsely))


@dataclasses.dataclass(frozen=True)
class Trained:
    """A home with a model, and what `train --json` said of it."""

    home: Path
    said: dict[str, Any]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A home with a model, trained for one epoch. Not to be changed."""

    def make(folder: Path) -> None:
        done = done_well("train", "mnist-sample:train", "--epochs", 1, "--json", home=folder / "home")
        (folder / "said.json").write_text(done.out)

    folder = made_once(tmp_path_factory, "trained", make)
    return Trained(folder / "home", json.loads((folder / "said.json").read_text()))


@dataclasses.dataclass(frozen=True)
class Ingested:
    """A home with a model and the pictures' codes, and what `ingest --json` said."""

    home: Path
    said: dict[str, Any]
    err: str


@pytest.fixture(scope="session")
def ingested(tmp_path_factory: pytest.TempPathFactory, trained: Trained, pictures: Path) -> Ingested:
    """A home whose alias `images` holds the pictures, with labels. Not to be changed."""

    def make(folder: Path) -> None:
        home = copy(trained.home, folder / "home")
        done = done_well("ingest", pictures, "--labels", "folder", "--json", home=home)
        (folder / "said.json").write_text(done.out)
        (folder / "err").write_text(done.err)

    folder = made_once(tmp_path_factory, "ingested", make)
    said = json.loads((folder / "said.json").read_text())
    return Ingested(folder / "home", said, (folder / "err").read_text())


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A home whose model has learned what digits are, with the pictures' codes. Not to be changed."""

    def make(folder: Path) -> None:
        done_well("train", "mnist-sample:train", "--epochs", 3, "--json", home=folder / "home")
        done_well("ingest", pictures, home=folder / "home")

    return made_once(tmp_path_factory, "learned", make) / "home"


@pytest.fixture
def home(ingested: Ingested, own_home: Path) -> Path:
    """This test's own copy of the home that holds the pictures."""
    return copy(ingested.home, own_home)


@pytest.fixture
def trained_home(trained: Trained, own_home: Path) -> Path:
    """This test's own copy of the home that holds a model and no collection."""
    return copy(trained.home, own_home)


@pytest.fixture
def folder(pictures: Path, tmp_path: Path) -> Path:
    """This test's own copy of the pictures, under the same name, so that they are the same images."""
    return Path(shutil.copytree(pictures, tmp_path / "mine" / "pictures"))


def points(home: Path, alias: str = "images") -> dict[str, Any]:
    """Every point behind the alias of an embedded home, by id, read without the command line."""
    from retrieval.store.base import resolve
    from retrieval.store.edge.engine import EdgeStore

    store = EdgeStore(home / "embedded")
    try:
        return {point.id: point for page in store.scroll(resolve(store, alias), codes=True) for point in page}
    finally:
        store.close()
