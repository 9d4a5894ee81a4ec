"""Printing, for all commands: consoles, lines, JSON, progress bars, warnings."""

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from retrieval.errors import REFUSED
from retrieval.util.files import to_json_text
from retrieval.util.sanitize import escape_unprintable
from retrieval.util.wording import count_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from retrieval.sources.read import Refused
    from retrieval.train.loop import Progress as Training
    from retrieval.util.reporting import ReportCount, ReportStep

T = TypeVar("T")

SHOWN_REFUSALS = 10


def stderr() -> "Console":
    """A console for progress and notes."""
    return console(stderr=True)


def stdout() -> "Console":
    """A console for data."""
    return console(stderr=False)


def is_terminal() -> bool:
    """Whether stdout is a terminal, or taken for one; looks before importing Rich, which takes longer than a query."""
    forced = os.environ.get("FORCE_COLOR") or os.environ.get("TTY_COMPATIBLE")
    return stdout().is_terminal if forced or sys.stdout.isatty() else False


def console(*, stderr: bool) -> "Console":
    """A console for people: text is not interpreted as markup, and control characters are made visible."""
    from rich.console import Console
    from rich.text import Text

    class Plain(Console):
        def on_broken_pipe(self) -> None:  # Rich would end the process
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(escape_unprintable(text, keep="\n"), **options)

    return Plain(stderr=stderr, highlight=False, markup=False, emoji=False)


def echo(*fields: str, err: bool = False) -> None:
    """Print a line for people, on stderr if `err`: fields separated by tabs, control characters made visible.

    Text for people is printed only by this and by `console`; JSON, CSV and `paths0` are written unchanged.
    """
    typer.echo("\t".join(map(escape_unprintable, fields)), err=err)


def discard_stdout() -> None:
    """From now on, what is printed goes nowhere: the reader of the pipe has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_while_read(show: Callable[[T], None]) -> Callable[[T], None]:
    """A printer whose reader may leave, as `head` does, without ending the command: it has files to write too."""

    def show_if_read(item: T) -> None:
        try:
            show(item)
        except BrokenPipeError:
            discard_stdout()

    return show_if_read


def print_json(data: dict[str, Any]) -> None:
    """Print one JSON object per line."""
    typer.echo(to_json_text(data, ensure_ascii=False))


@contextlib.contextmanager
def progress_bar() -> Iterator["Progress"]:
    """Show a progress bar on stderr while the block runs, on a terminal only."""
    from retrieval.cli.render.progress import make_progress

    with make_progress(stderr()) as progress:
        yield progress


def count_task(bar: "Progress", description: str, total: int | None = None, unit: str = "image") -> "ReportCount":
    """A callback that shows a number done and a total on the bar."""
    task = bar.add_task(description, total=total, unit=unit, note="")
    return lambda done, total: bar.update(task, completed=done, total=total)


def step_task(bar: "Progress", description: str, unit: str = "image") -> "ReportStep":
    """A callback that shows the current step, a number done and a total on the bar."""
    task = bar.add_task(description, total=None, unit=unit, note="")
    return lambda step, done, total: bar.update(task, description=step, completed=done, total=total)


def training_task(bar: "Progress") -> "Callable[[Training], None]":
    """A callback that shows the progress of a training on the bar."""
    from retrieval.cli.render.progress import PERCENT

    task = bar.add_task("Training", total=None, start=False, visible=False, unit=PERCENT, note="")

    def show(p: "Training") -> None:
        if p.compiling:
            bar.update(task, visible=True, description="Compiling", note="kept for the next time")
            return
        bar.start_task(task)
        loss = "features" if p.loss is None else f"loss {p.loss:.4f}"
        note = f"{loss}, {p.images_per_second:,.0f} images/s{', resumed' if p.resumed else ''}"
        name = "Training" if p.done < 1 else "Saving"
        bar.update(task, visible=True, description=name, completed=100 * p.done, total=100, note=note)

    return show


def print_warnings(warnings: Sequence[str]) -> None:
    """Print warnings, on stderr."""
    for warning in warnings:
        echo(f"warning: {warning}", err=True)


def print_left_out(count: int, file: Path) -> None:
    """Print how many images a list of tasks leaves out, on stderr."""
    if count:
        why = "cannot be read" if file.suffix.lower() == ".json" else "are not files of a folder on this machine"
        print_warnings([f"{file} leaves out {count_of(count, 'image')} that {why}"])


def exit_if_refused(refused: Sequence["Refused"], *, silent: bool = False) -> None:
    """End with REFUSED if images were refused; unless `silent`, name the first few."""
    if refused and not silent:
        print_refused(refused)
    if refused:
        raise typer.Exit(REFUSED)


def print_refused(refused: Sequence["Refused"]) -> None:
    """Name the first few refused images, on stderr."""
    for item in refused[:SHOWN_REFUSALS]:
        echo(f"refused: {item.entry.name}: {item.reason}", err=True)
    if len(refused) > SHOWN_REFUSALS:
        echo(f"refused: {len(refused) - SHOWN_REFUSALS} more (--json lists them all)", err=True)
