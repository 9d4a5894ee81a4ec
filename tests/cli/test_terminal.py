"""What a person at a terminal sees, and what NO_COLOR takes away."""

import io
import os
import re
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from retrieval.cli.console import count_task, training_task
from retrieval.cli.render.progress import make_progress
from retrieval.train.loop import COMPILING, Progress
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


def test_images_on_a_terminal_as_it_can_show_them(home: Path, pictures: Path) -> None:
    query = next(pictures.glob("*/*.png"))
    terminal = dict.fromkeys(("TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "TMUX", "STY"), "")
    assert "▀" in on_a_terminal(home, "search", query, "--show", **terminal)
    assert "\x1b_Ga=T" in on_a_terminal(home, "search", query, "--show", **{**terminal, "KITTY_WINDOW_ID": "1"})
    assert "▀" not in on_a_terminal(home, "search", query, **terminal)


def test_a_progress_bar_on_a_terminal(trained_home: Path, pictures: Path) -> None:
    written = on_a_terminal(trained_home, "ingest", pictures, NO_COLOR="1")
    assert "Ingesting" in written
    assert re.search("loading the model.*compiling.*images/s", written, re.DOTALL)
    assert "200 of 200 images" in written
    assert not COLOUR.search(written)
    assert COLOUR.search(on_a_terminal(trained_home, "ingest", pictures)), "or else the test above says nothing"


def test_progress_says_what_is_done_of_how_much_and_that_it_compiles() -> None:
    bar = make_progress(Console(file=io.StringIO(), force_terminal=True, width=100, legacy_windows=False))

    def shown() -> str:
        with bar.console.capture() as captured:
            bar.console.print(bar.get_renderable())
        return captured.get()

    show = training_task(bar)
    assert "Training" not in shown(), "not before the images are read"
    show(COMPILING)
    assert "Compiling" in shown()
    show(Progress(10, 0.25, 0.5, 1234.0, resumed=False))
    assert all(part in shown() for part in ("Training", "25%", "loss 0.5000, 1,234 images/s"))
    assert "Compiling" not in shown()
    count_task(bar, "Reading")(1200, 5000)
    count_task(bar, "Downloading", unit="bytes")(1_500_000, 9_912_422)
    assert all(part in shown() for part in ("1,200 of 5,000 images", "1.5 MB of 9.91 MB"))
