"""Training on several hosts from the command line: the options, and a process of its own for what JAX may end.

When another process is lost, JAX ends this one on the spot, and its libraries write to stdout and stderr as they
please. So the training runs in a child whose C++ is muted, and the parent says in one line how it ended.
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
    from retrieval.train.choices import Hosts

INSIDE = "RETRIEVAL_TRAINING_CHILD"
"""Set for the child."""
CHILD = "from retrieval.cli.hosts import inside; inside()"


def parse_hosts(coordinator: str | None, processes: int | None, process: int | None) -> "Hosts | None":
    """The values of the three options, None for none of them. Raises UsageError for some, and as `Hosts`."""
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if coordinator is None or processes is None or process is None:
        there = " and ".join(name for name in given if name not in missing)
        raise UsageError(f"{there} without {' and '.join(missing)}: to train on several hosts takes all three")

    from retrieval.train.choices import Hosts

    return Hosts(coordinator, processes, process)


def train_in_a_child(hosts: "Hosts") -> None:
    """Run this same command line in a child, which trains; ends with its exit code. In the child: do nothing.

    Raises TrainingError when the child was ended from outside, as JAX does for want of another process.
    """
    if INSIDE in os.environ:
        return

    from retrieval.cli import DEBUG

    debug = [DEBUG] if DEBUG in sys.orig_argv else []  # `main` has taken it out of sys.argv
    command = [sys.executable, "-c", CHILD, *sys.argv[1:], *debug]
    environment = {**os.environ, INSIDE: "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as child:  # noqa: S603 - this very command
        try:
            code = child.wait()
        except KeyboardInterrupt:
            child.kill()  # as good as a farewell: checkpoints are written in one piece
            raise
    if code < 0:
        raise TrainingError(
            f"{hosts} was ended by {signal.Signals(-code).name}: another one has stopped, or its host cannot be"
            " reached; see what the others say, then run the same command again on every host: training goes on from"
            " the last checkpoint"
        )
    raise typer.Exit(code)


def end_with_parent() -> NoReturn:
    """Wait for the other end of stdin to be closed."""
    while os.read(0, 1):
        pass
    os._exit(1)


def mute() -> None:
    """From now on only Python writes to stdout and stderr."""
    for stream in ("stdout", "stderr"):
        old = getattr(sys, stream)
        kept = os.fdopen(os.dup(old.fileno()), "w", encoding=old.encoding, errors=old.errors, buffering=1)
        with open(os.devnull, "wb") as void:  # noqa: PTH123 - as good as a path
            os.dup2(void.fileno(), old.fileno())
        setattr(sys, stream, kept)


def inside() -> NoReturn:
    """What the child does: the command line, and then it leaves at once, for JAX would wait for lost processes."""
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
