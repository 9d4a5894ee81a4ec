"""The documents are tested: docs/cli.md describes every command, and every command that the README shows runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval.cli import make_app
from retrieval.config import Settings
from retrieval.images.decode import decode, encode_png
from retrieval.schema.image_shape import ImageShape
from retrieval.sources import open_source

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = (ROOT / "docs" / "cli.md").read_text()
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md"))))
ELSEWHERE = ("./scripts/demo", "./scripts/test", "docker", "git ", "cd ", "just ")
"""Commands that have tests of their own or need what a test machine lacks."""
NOT_THE_USERS = ("QDRANT_URL", "QDRANT_API", "RETRIEVAL_", "JAX_")
"""Settings of the test run and of whoever started it."""
QUICK = {"retrieval train digits": " --epochs 4", "retrieval reindex": " --max-drop 100%"}
PICTURES = 64
"""Fewer than a batch: a training takes as many steps as with 200, and each in a third of the time."""
DEADLINE = 900
"""Seconds, on a machine that is busy with other things."""


def shown_commands() -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", README, re.M | re.S)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [quick(line) for line in lines if not line.startswith(ELSEWHERE)]


def quick(line: str) -> str:
    """The command as it is shown; what would train for minutes, and judge a model that has, is told not to."""
    return next((line + more for start, more in QUICK.items() if line.startswith(start)), line)


@pytest.mark.parametrize("command", make_app().registered_commands, ids=lambda c: c.callback.__name__)
def test_every_command_is_described(command) -> None:  # type: ignore[no-untyped-def]
    name = command.callback.__name__.replace("_", "-")
    assert f"\n## retrieval {name}\n" in COMMANDS
    assert command.callback.__doc__


@pytest.mark.parametrize("page", PAGES)
def test_every_local_link_leads_somewhere(page: str) -> None:
    file = ROOT / page
    links = [
        (file.parent / link if link else file, part)
        for link, part in re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)", file.read_text())
    ]
    assert [target for target, _ in links if not target.exists()] == []
    assert [(target.name, part) for target, part in links if part and part not in anchors(target)] == []


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """The folder of the README's examples, with fewer images."""
    settings = Settings(home=tmp_path / "unused")
    for entry in list(open_source("mnist-sample:train", settings).entries())[:PICTURES]:
        file = tmp_path / "digits" / str(entry.label) / f"{entry.key}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode_png(decode(entry.read(), entry.key, ImageShape(28, 28, 1)).pixels))
    (tmp_path / "query.png").write_bytes(file.read_bytes())
    return tmp_path / "digits"


@pytest.mark.long
@pytest.mark.timeout(DEADLINE + 30)
@pytest.mark.usefixtures("qdrant_binary")
def test_the_commands_shown_run(digits: Path, tmp_path: Path) -> None:
    commands = shown_commands()
    assert any(c.startswith("retrieval search") for c in commands)
    folder = digits.parent
    (folder / "scripts").symlink_to(ROOT / "scripts")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(NOT_THE_USERS)}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RETRIEVAL_HOME": str(tmp_path / "home"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    script = "\n".join(["set -e", "trap 'scripts/qdrant stop' EXIT", *commands])
    ran = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=DEADLINE
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "error: " not in ran.stderr
    assert (folder / "hits.html").stat().st_size > 1000
