"""Fixed seeds on both engines; `scripts/torture` goes on from there. And what is wrong is found.

In processes of their own: the torture forks, which only a process without threads may.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

LOSSY = """
import sys
from pathlib import Path
from retrieval.config import Settings
from retrieval.store import open_store
from retrieval.store.base import resolve
from tests.torture.child import Child
from tests.torture.at_once import Torture
from tests.torture.lists import Place, shrink, torture
from tests.cli.conftest import environment

def lose(self, job):
    def work():
        with open_store(Settings(home=self.home)) as store:
            if "images" in store.aliases():
                live = resolve(store, "images")
                store.delete(live, [next(store.scroll(live))[0].id])
    Child(work, [], environment(self.home)).wait()
    self.compare()

Torture.do_set_url = lose
place = Place(Path(sys.argv[1]))
ingest, url = {"do": "ingest", "alias": "images", "source": "a"}, {"do": "set url", "alias": "images"}
touch = {"do": "touch", "source": "a", "key": "00.png", "number": 1}
operations = [touch, ingest, touch, url, ingest]
_, wrong, length = torture(place, operations)
assert "missing" in wrong and length == 4, wrong
assert shrink(place, operations) == [ingest, url]
"""


@pytest.mark.parametrize(("engine", "seed", "count"), [("embedded", 4, 60), ("embedded", 11, 40), ("server", 1, 40)])
def test_fixed_seeds(engine: str, seed: int, count: int, tmp_path: Path) -> None:
    options = ["--engine", engine, "--seed", str(seed), "--ops", str(count), "--minutes", "0"]
    done = run(str(ROOT / "scripts" / "torture"), *options, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 kills" not in done.stdout


def test_a_fixed_seed_of_the_program_as_it_is(tmp_path: Path) -> None:
    options = ["--real", "--engine", "embedded", "--seed", "1", "--ops", "20", "--minutes", "0"]
    done = run(str(ROOT / "scripts" / "torture"), *options, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 struck" not in done.stdout


def test_a_lost_point_is_found_and_the_list_is_shortened(tmp_path: Path) -> None:
    done = run("-c", LOSSY, str(tmp_path / "torture"), folder=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def run(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run Python in a process of its own."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
