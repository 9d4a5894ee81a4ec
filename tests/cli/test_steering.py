r"""Names from outside may hold what steers a terminal (ESC, C1, bidi) or is markup to Rich: shown, and not obeyed.

An attacker who can put a file into a folder chooses its name, and with `--labels folder` its label.
"""

import ast
import re
import shutil
from pathlib import Path

import pytest

from retrieval.util.sanitize import escape_unprintable
from tests.cli.conftest import Call, Ingested, copy, done_well
from tests.cli.test_terminal import on_a_terminal
from tests.conftest import made_once

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202egnp"
MARKUP = "[red]:car:[bold]"
LABEL = f"{ESCAPES}{MARKUP}\t\r"
RED_BY_RICH = re.compile(r"\x1b\[[\d;]*m")
"""What Rich itself writes to a terminal: colours, bold; taken out before looking for what came from outside."""


@pytest.fixture(scope="session")
def steering(tmp_path_factory: pytest.TempPathFactory, ingested: Ingested, pictures: Path) -> Path:
    """A home whose collection holds pictures with such labels and names, and a file that is no picture."""

    def make(folder: Path) -> None:
        hostile = folder / "hostile" / LABEL
        hostile.mkdir(parents=True)
        for number, file in enumerate(sorted(pictures.rglob("*.png"))[:8]):
            shutil.copy(file, hostile / f"{number}{ESCAPES}.png")
        home = copy(ingested.home, folder / "home")
        done_well("ingest", folder / "hostile", "--labels", "folder", home=home)

    return made_once(tmp_path_factory, "steering", make)


@pytest.fixture
def hostile(steering: Path, own_home: Path) -> Path:
    """The folder of such pictures; the home is this test's own copy."""
    copy(steering / "home", own_home)
    return steering / "hostile"


def steers(written: str) -> list[str]:
    """What is left in it that is no text."""
    return [c for c in written if not c.isprintable() and c not in "\n\t"]


def commands(hostile: Path, bad: Path) -> list[tuple[object, ...]]:
    """Each command that prints names or labels; `bad` is not there."""
    files = sorted(hostile.rglob("*.png"))
    return [
        ("search", files[0], "-k", 9, "--keep-copies"),
        ("search", files[0], bad, "--max-distance", 0),
        ("search", "--list", bad),
        ("duplicates",),
        ("outliers",),
        ("explain", files[0], files[1]),
        ("status",),
        ("collections",),
        ("jobs",),
        ("ingest", bad),
        ("doctor",),
    ]


def test_nothing_from_outside_steers_the_terminal(hostile: Path, call: Call, tmp_path: Path) -> None:
    shown = 0
    for arguments in commands(hostile, tmp_path / f"bad{ESCAPES}.png"):
        done = call(*arguments)
        assert steers(done.out + done.err) == [], arguments
        assert "(a bug;" not in done.err
        shown += (done.out + done.err).count(r"\x1b]0;owned\x07")
    assert shown > 30, "or else nothing was shown that could steer"


def test_labels_are_no_markup_and_lose_nothing(hostile: Path, call: Call) -> None:
    query = min(hostile.rglob("*.png"))
    lines = call("search", query, "-k", 9, "--keep-copies").out.splitlines()
    labels = [line.split("\t")[-1] for line in lines]
    assert escape_unprintable(LABEL) in labels
    assert MARKUP in escape_unprintable(LABEL)
    assert {len(line.split("\t")) for line in lines} == {6}, "a tab in a name is no column"


def test_what_programs_read_is_as_it_is(hostile: Path, call: Call) -> None:
    query = min(hostile.rglob("*.png"))
    hits = call("search", query, "-k", 9, "--json", "--keep-copies").object["hits"]
    assert LABEL in {hit.get("label") for hit in hits}
    assert LABEL in call("search", query, "-k", 9, "--output", "csv", "--keep-copies").out
    names = call("search", query, "-k", 9, "--output", "paths0", "--keep-copies").out.split("\0")[:-1]
    assert all(Path(name).is_file() for name in names)
    assert any(ESCAPES in name for name in names)


def test_a_refused_picture_is_named_and_steers_nothing(hostile: Path, call: Call, tmp_path: Path) -> None:
    root = tmp_path / "some"
    root.mkdir()
    shutil.copy(min(hostile.rglob("*.png")), root / "good.png")
    (root / f"bad{ESCAPES}.png").write_bytes(b"no picture")
    done = call("ingest", root)
    assert done.code == 3
    assert r"refused: some/bad\x1b]0;owned\x07" in done.err
    assert steers(done.out + done.err) == []
    (root / f"bad{ESCAPES}.png").unlink()
    done = call("ingest", root, "--prune", "--yes")
    assert steers(done.out + done.err) == []


def test_on_a_terminal_too(hostile: Path, own_home: Path) -> None:
    query = min(hostile.rglob("*.png"))
    for arguments in (("search", query, "-k", 9, "--keep-copies"), ("duplicates",)):
        written = RED_BY_RICH.sub("", on_a_terminal(own_home, *arguments)).replace("\r\n", "\n")
        for once in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\x7f", "\u202e"):
            assert once not in written, arguments
        assert ":car:" in written


CLI = sorted((Path(__file__).parents[2] / "retrieval" / "cli").rglob("*.py"))
WRITERS = {"typer.echo", "typer.secho", "click.echo", "print", "Console", "sys.stdout.write", "sys.stderr.write"}


@pytest.mark.parametrize("file", CLI, ids=lambda file: file.name)
def test_there_is_one_way_to_the_terminal(file: Path) -> None:
    """`console` has it; `formats` writes what programs read."""
    called = {
        ast.unparse(node.func) for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)
    }
    allowed = {"console.py": {"typer.echo"}, "formats.py": {"sys.stdout.write"}}
    assert called & WRITERS <= allowed.get(file.name, set()), "print by console.echo, console.stdout or console.stderr"
