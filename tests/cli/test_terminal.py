"""What a person at a terminal sees, and what NO_COLOR takes away."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import SECONDS, command, environment

COLOUR = re.compile(r"\x1b\[[\d;]*(3[0-8]|9[0-7]|4[0-8])[\d;]*m")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")


def on_a_terminal(home: Path, *arguments: object, **env: str) -> str:
    """Everything that a run writes to a terminal of 100 columns."""
    ours, its = os.openpty()
    process = subprocess.Popen(
        command(*arguments),
        env=environment(home, TERM="xterm-256color", COLUMNS="100", **env),
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    written = b""
    try:
        while block := os.read(ours, 65536):
            written += block
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        os.close(ours)
        assert process.wait(timeout=SECONDS) == 0
    return written.decode()


def test_a_table_on_a_terminal(home: Path, pictures: Path) -> None:
    written = on_a_terminal(home, "search", next(pictures.glob("*/*.png")), "-k", 3, NO_COLOR="1")
    for word in ("rank", "distance", "path", "label"):
        assert word in written
    assert written.count("pictures/") >= 3
    assert not COLOUR.search(written)


def test_a_progress_bar_on_a_terminal(trained_home: Path, pictures: Path) -> None:
    written = on_a_terminal(trained_home, "ingest", pictures, NO_COLOR="1")
    assert "Ingesting" in written
    assert not COLOUR.search(written)
    assert COLOUR.search(on_a_terminal(trained_home, "ingest", pictures)), "or else the test above says nothing"
