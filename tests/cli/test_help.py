"""The command line describes itself: every command and every option, without colours in a pipe, and docs/cli.md too."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from retrieval import __version__
from retrieval.cli import make_app
from retrieval.cli.help import GROUPS, OTHER, examples, group_of, is_argument
from tests.cli.conftest import Call, done_well, run

COMMANDS = sorted(
    command.callback.__name__.replace("_", "-") for command in make_app().registered_commands if command.callback
)


def test_the_promised_commands_are_there() -> None:
    assert {"train", "ingest", "search", "status", "demo"} <= set(COMMANDS)


def test_help_lists_every_command(tmp_path: Path) -> None:
    done = done_well("--help", home=tmp_path / "home")
    assert done.err == ""
    assert "\x1b" not in done.out
    for name in COMMANDS:
        assert re.search(rf"^\s+{name}\s+\w", done.out, re.MULTILINE), f"{name} has no summary"
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str, call: Call) -> None:
    done = call(name, "--help")
    assert done.code == 0
    command = typer.main.get_command(make_app()).commands[name]  # type: ignore[attr-defined]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"
        if parameter.param_type_name == "option":
            assert max(parameter.opts, key=len) in done.out
    assert re.search(r"<\w+.*>|list\[|; else ", done.out) is None, "types and defaults in words"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_group_and_every_command_two_examples(name: str) -> None:
    command = typer.main.get_command(make_app()).commands[name]  # type: ignore[attr-defined]
    assert {group_of(each) for each in command.params if not is_argument(each)} <= {*GROUPS} - {OTHER}
    shown = examples(command.help)
    assert len(shown) == 2
    for line in shown:
        _, used, *arguments = shlex.split(line)
        assert used == name
        command.make_context(name, arguments)  # raises a usage error where it is not understood


def test_summaries_fit_their_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = call("--help").out.splitlines()
    assert "..." not in "".join(line for line in lines if line.startswith("  ") and line.split()[0] in COMMANDS)
    assert max(map(len, lines)) <= 80


def test_a_wider_terminal_is_used(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    assert 110 < max(map(len, call("search", "--help").out.splitlines())) <= 140


@pytest.mark.parametrize("script", ["write_cli_docs", "draw_benchmarks"])
def test_what_scripts_write_into_docs_is_up_to_date(script: str) -> None:
    path = Path(__file__).parents[2] / "scripts" / script
    done = subprocess.run([sys.executable, path, "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("serve", "mcp")])
def test_every_command_that_prints_data_takes_json(name: str, call: Call) -> None:
    assert "--json" in call(name, "--help").out


def test_version(call: Call) -> None:
    assert call("--version").out == f"retrieval {__version__}\n"


MISTAKES = {
    "frobnicate": "there is no command frobnicate; see: retrieval --help",
    "serch x.png": "there is no command serch; did you mean search or serve? see: retrieval --help",
    "ingest": "SOURCE is missing; see: retrieval ingest --help",
    "search x.png --nope": "there is no option --nope; did you mean --model? see: retrieval search --help",
    "search x.png -k many": "--k: many is not a whole number; see: retrieval search --help",
    "search x.png --limit 0": "--limit: 0 is less than 1; see: retrieval search --help",
    "search x.png --max-distance far": "--max-distance: far is not a number; see: retrieval search --help",
    "search x.png --html": "--html: a value is missing; see: retrieval search --help",
    "search x.png --json=3": "--json takes no value; see: retrieval search --help",
    "set-public-url": "URL is missing; see: retrieval set-public-url --help",
    "jobs more": "not understood: more; see: retrieval jobs --help",
    "duplicates --max-percentile 101": "--max-percentile: 101 is more than 100; see: retrieval duplicates --help",
    "train x --preset huge": "--preset: 'huge' is not one of 'tiny', 'small', 'base'; see: retrieval train --help",
}


@pytest.mark.parametrize(("wrong", "told"), MISTAKES.items(), ids=list(MISTAKES))
def test_wrong_usage_is_exit_code_2_and_one_line_like_any_error(wrong: str, told: str, call: Call) -> None:
    done = call(*wrong.split())
    assert (done.code, done.out, done.err) == (2, "", f"error: {told}\n")


def test_no_command_shows_the_help(call: Call) -> None:
    done = call()
    assert done.code == 2
    assert "Commands:" in done.err


def test_an_unknown_command_is_no_traceback(tmp_path: Path) -> None:
    done = run("frobnicate", home=tmp_path / "home")
    assert done.code == 2
    assert "Traceback" not in done.err
