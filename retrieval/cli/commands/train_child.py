"""Training on several hosts from the command line: the options, and a child process that JAX may terminate.

When another process is lost, JAX terminates this one at once, and its C++ libraries write to stdout and stderr. So the
training runs in a child whose C++ output is discarded, and the parent prints in one line how it ended.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

import typer

from retrieval.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from retrieval.train.types import Hosts

IN_CHILD = "RETRIEVAL_TRAINING_CHILD"
"""Environment variable that is set for the child."""
CHILD = "from retrieval.cli.commands.train_child import run_child; run_child()"


def parse_hosts(coordinator: str | None, processes: int | None, process: int | None) -> "Hosts | None":
    """The values of the three options; None if none is given. Raises UsageError if only some are, and as `Hosts`."""
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if coordinator is None or processes is None or process is None:
        there = " and ".join(name for name in given if name not in missing)
        raise UsageError(f"{there} without {' and '.join(missing)}: training on several hosts needs all three")

    from retrieval.train.types import Hosts

    return Hosts(coordinator, processes, process)


def train_in_a_child(hosts: "Hosts") -> None:
    """Run this command line in a child, and end with its exit code; in the child, do nothing.

    Raises TrainingError when a signal ended the child, as JAX does when another process is lost.
    """
    if IN_CHILD in os.environ:
        return

    from retrieval.cli import DEBUG

    debug = [DEBUG] if DEBUG in sys.orig_argv else []  # `main` has removed it from sys.argv
    command = [sys.executable, "-c", CHILD, *sys.argv[1:], *debug]
    environment = {**os.environ, IN_CHILD: "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as child:  # noqa: S603 - our own command
        try:
            code = child.wait()
        except KeyboardInterrupt:
            child.kill()  # safe: checkpoints are written atomically
            raise
    if code < 0:
        from retrieval.train.distributed import AGAIN

        ended = f"{hosts} was terminated by {signal.Signals(-code).name}"
        raise TrainingError(f"{ended}: another process has stopped, or its host cannot be reached", hint=AGAIN)
    raise typer.Exit(code)


def end_with_parent() -> NoReturn:
    """Wait until the parent closes stdin, then exit."""
    while os.read(0, 1):
        pass
    os._exit(1)


def mute() -> None:
    """From now on, discard what C++ writes to stdout and stderr; Python still writes."""
    for stream in ("stdout", "stderr"):
        old = getattr(sys, stream)
        kept = os.fdopen(os.dup(old.fileno()), "w", encoding=old.encoding, errors=old.errors, buffering=1)
        with open(os.devnull, "wb") as void:  # noqa: PTH123 - os.devnull is a str
            os.dup2(void.fileno(), old.fileno())
        setattr(sys, stream, kept)


def run_child() -> NoReturn:
    """Run the command line in the child, then exit at once, because JAX would wait for lost processes."""
    from retrieval.cli import DEBUG, main

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    threading.Thread(target=end_with_parent, daemon=True).start()
    if DEBUG not in sys.argv:
        mute()
    code: object = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)
