"""The command line: parse, call, print, and turn errors into exit codes. Work on images belongs in lower modules."""

import importlib
import logging
import sys
from collections.abc import Sequence

import typer

from retrieval import __version__
from retrieval.cli import logs
from retrieval.cli.console import discard_stdout, echo
from retrieval.cli.help import WIDEST, Command
from retrieval.cli.mistakes import Mistake, describe_mistake, is_request_for_help
from retrieval.cli.options import as_flag
from retrieval.errors import INTERRUPTED, RetrievalError
from retrieval.util.sanitize import redact

DEBUG = "--debug"

COMMANDS = (
    *("demo", "train", "ingest", "search", "duplicates", "outliers", "explain", "evaluate"),
    *("reindex", "rollback", "tune", "forget", "collections", "jobs", "status", "doctor", "migrate", "export"),
    *("serve", "mcp", "set_public_url"),
)
"""In the order of the help; each is a function in a module of its name."""


def print_version(value: bool) -> None:
    """`--version`."""
    if value:
        echo(f"retrieval {__version__}")
        raise typer.Exit


def root(
    version: bool = typer.Option(
        False, "--version", callback=print_version, is_eager=True, help="Print the version and exit."
    ),
    debug: bool = typer.Option(False, DEBUG, help="Show the traceback of an error; works anywhere on the line."),
) -> None:
    """Find the images that look like a given image, in collections that nobody has labelled."""


def make_app(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands; importing all of them takes longer than one query."""
    app = typer.Typer(
        name="retrieval",
        no_args_is_help=True,
        rich_markup_mode=None,  # Rich's help would cost every start 0.1 s
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
        epilog="Settings come from options, then from the environment (QDRANT_URL, QDRANT_API_KEY, RETRIEVAL_HOME,"
        " RETRIEVAL_DATA), then from retrieval.toml in the working folder.",
    )
    app.callback()(root)
    for name in names:
        app.command(cls=Command)(getattr(importlib.import_module(f"retrieval.cli.commands.{name}"), name))
    return app


def main() -> None:
    """Run the command line; every error ends in one line on stderr and its exit code."""
    debug = DEBUG in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != DEBUG]
    if not debug:
        logging.disable(logging.WARNING)  # warnings of libraries; errors are raised
    asked = sys.argv[1].replace("-", "_") if len(sys.argv) > 1 else ""
    known = asked in COMMANDS
    try:
        code = make_app([asked] if known else COMMANDS)(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except KeyboardInterrupt:  # also while the command is imported
        echo("interrupted: run the same command again to resume", err=True)
        sys.exit(INTERRUPTED)
    except Mistake as mistake:
        if is_request_for_help(mistake):
            mistake.show()
        else:
            command = f"retrieval {sys.argv[1]}" if known else "retrieval"
            echo(f"error: {redact(describe_mistake(mistake, command))}", err=True)
        sys.exit(mistake.exit_code)
    except typer.Abort:
        echo("error: no answer, so nothing was done", err=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of a pipe closed it
        discard_stdout()
    except Exception as error:
        if debug:
            raise
        if isinstance(error, RetrievalError):
            text = redact(error.text(as_flag))
            if logs.is_json():
                logs.log("error", logging.ERROR, reason=text, exit_code=error.exit_code)
            else:
                for line in (f"error: {text}", *getattr(error, "context", ())):
                    echo(line, err=True)
            sys.exit(error.exit_code)
        echo(redact(f"error: {type(error).__name__}: {error} (a bug; {DEBUG} shows the traceback)"), err=True)
        sys.exit(1)
