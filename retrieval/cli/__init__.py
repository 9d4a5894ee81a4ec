"""The command line: parse, call, print, and turn errors into exit codes. Work on images belongs in lower modules."""

import logging
import os
import sys

import typer

from retrieval import __version__
from retrieval.cli import logs
from retrieval.cli.commands.collections import collections
from retrieval.cli.commands.demo import demo
from retrieval.cli.commands.doctor import doctor
from retrieval.cli.commands.duplicates import duplicates
from retrieval.cli.commands.evaluate import evaluate
from retrieval.cli.commands.explain import explain
from retrieval.cli.commands.export import export
from retrieval.cli.commands.forget import forget
from retrieval.cli.commands.ingest import ingest
from retrieval.cli.commands.jobs import jobs
from retrieval.cli.commands.migrate import migrate
from retrieval.cli.commands.outliers import outliers
from retrieval.cli.commands.reindex import reindex
from retrieval.cli.commands.rollback import rollback
from retrieval.cli.commands.search import search
from retrieval.cli.commands.serve import serve
from retrieval.cli.commands.set_public_url import set_public_url
from retrieval.cli.commands.status import status
from retrieval.cli.commands.train import train
from retrieval.cli.commands.tune import tune
from retrieval.cli.console import echo
from retrieval.cli.help import WIDEST, Command
from retrieval.cli.options import as_flag
from retrieval.errors import INTERRUPTED, RetrievalError
from retrieval.util.sanitize import redact

DEBUG = "--debug"

app = typer.Typer(
    name="retrieval",
    no_args_is_help=True,
    rich_markup_mode=None,  # Rich's help would cost every start 0.1 s
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
    epilog="Settings come from options, then from the environment (QDRANT_URL, QDRANT_API_KEY, RETRIEVAL_HOME,"
    " RETRIEVAL_DATA), then from retrieval.toml in the working folder.",
)
COMMANDS = (
    *(demo, train, ingest, search, duplicates, outliers, explain, evaluate),
    *(reindex, rollback, tune, forget, collections, jobs, status, doctor, migrate, export),
    *(serve, set_public_url),
)
for command in COMMANDS:
    app.command(cls=Command)(command)


def print_version(value: bool) -> None:
    """`--version`."""
    if value:
        echo(f"retrieval {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=print_version, is_eager=True, help="Print the version and exit."
    ),
    debug: bool = typer.Option(False, DEBUG, help="Show the traceback of an error; works anywhere on the line."),
) -> None:
    """Find the images that look like a given image, in collections that nobody has labelled."""


def main() -> None:
    """Run the command line; every error ends in one line on stderr and its exit code."""
    debug = DEBUG in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != DEBUG]
    if not debug:
        logging.disable(logging.WARNING)  # warnings of libraries; errors are raised
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            echo("interrupted: run the same command again to resume", err=True)
        raise
    except BrokenPipeError:  # the reader of a pipe closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
