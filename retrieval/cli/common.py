"""Options that several commands share, and the few ways in which they all print."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from retrieval.errors import DEFAULT_ALIAS as DEFAULT_ALIAS
from retrieval.errors import REFUSED
from retrieval.files import json_text
from retrieval.outside import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from retrieval.config import Settings
    from retrieval.ingest.options import Ray
    from retrieval.reading import Refused
    from retrieval.sources import Source
    from retrieval.train.loop import Progress as Training

Alias = Annotated[str, typer.Option(help="The collection's alias.")]
Model = Annotated[
    str | None,
    typer.Option(help="A model's folder or the start of its fingerprint; else the collection's, else the default."),
]
AnyModel = Annotated[
    str | None, typer.Option(help="A model's folder or the start of its fingerprint; else the default.")
]
"""For a command that does not go by a collection's model."""
QdrantUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL[,URL…]",
        help="A Qdrant server, or nodes of one cluster; else $QDRANT_URL, else the embedded engine.",
    ),
]
PublicUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where `retrieval serve` is reached, for the dashboard's pictures; else as before.",
    ),
]
Shards = Annotated[
    int | None, typer.Option(min=1, max=1000, help="Parts of a new collection, on a cluster; else one for each peer.")
]
Replicas = Annotated[
    int | None, typer.Option(min=1, max=100, help="Peers that hold each part of a new collection; else 2 on a cluster.")
]
WriteConsistency = Annotated[
    int | None, typer.Option(min=1, max=100, help="Peers that must take a write to a new collection; else 1.")
]
Runner = Annotated[
    Literal["here", "ray"],
    typer.Option(help="Who reads, encodes and writes: this machine, or the workers of a Ray cluster."),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|auto", help="The Ray cluster of --runner ray; else one is started on this machine."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Name = Annotated[str | None, typer.Option(help="The source's short name; else its folder's or file's.")]
Labels = Annotated[
    str | None,
    typer.Option(metavar="folder", help="Where labels come from: each image's folder's name; never learned from."),
]

SOURCES = "folders, archives, Parquet files, lists of paths, data sets, URLs"
"""Where an argument's images may come from, in its help."""
SHOWN_REFUSALS = 10


def as_flag(option: str) -> str:
    """An argument as it is typed.

    >>> as_flag("max_distance")
    '--max-distance'
    """
    return f"--{option.replace('_', '-')}"


def stderr() -> "Console":
    """For progress and notes."""
    return console(stderr=True)


def stdout() -> "Console":
    """For data."""
    return console(stderr=False)


def console(*, stderr: bool) -> "Console":
    """What prints more than a line to people; whoever wrote a text, nothing in it steers the terminal or is markup."""
    from rich.console import Console
    from rich.text import Text

    class Plain(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(visible(text, keep="\n"), **options)

    return Plain(stderr=stderr, highlight=False, markup=False, emoji=False)


def echo(*fields: str, err: bool = False) -> None:
    """A line for people, on stderr if `err`: fields with tabs between. Nothing in them steers the terminal.

    With `console`, the one way to a terminal; what programs read (JSON, CSV, `paths0`) is written as it is.
    """
    typer.echo("\t".join(map(visible, fields)), err=err)


def print_json(data: dict[str, Any]) -> None:
    """One object a line, so that it pipes."""
    typer.echo(json_text(data, ensure_ascii=False))


@contextlib.contextmanager
def progress_bar(*columns: str) -> Iterator["Progress"]:
    """A bar on stderr while the block runs, on a terminal only; `columns` are task fields shown after it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = stderr()
    fields = [TextColumn("{task.fields[" + name + "]}", markup=False) for name in columns]
    layout = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        *fields,
        TimeRemainingColumn(),
    )
    with Progress(*layout, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def training_task(bar: "Progress") -> "Callable[[Training], None]":
    """What shows a training's progress on the bar, which has a `note`, by the share that is done."""
    task = bar.add_task("Training", total=100, start=False, visible=False, note="")

    def show(p: "Training") -> None:
        bar.start_task(task)
        note = f"loss {p.loss:.4f}, {p.images_per_second:,.0f} images/s{', gone on with' if p.resumed else ''}"
        bar.update(task, visible=True, completed=100 * p.done, note=note)
        if p.done >= 1:
            bar.update(task, description="Saving")

    return show


def open_sources(
    specs: list[str], settings: "Settings", name: str | None = None, labels: str | None = None
) -> list["Source"]:
    """The sources of a command line; a data set that is not on this machine is downloaded behind a bar.

    Raises UsageError for a name or labels that cannot be meant, SourceError as `open_source`.
    """
    from retrieval.errors import UsageError
    from retrieval.sources import open_source

    if labels not in (None, "folder"):
        raise UsageError(f"--labels {labels}: the only kind is `folder`")
    if name is not None and len(specs) > 1:
        raise UsageError(f"--name {name} with {len(specs)} sources; ingest them one by one, each with its own --name")
    with progress_bar() as bar:
        tasks: dict[str, Any] = {}

        def report(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(f"Downloading {file}", total=total)
            bar.update(tasks[file], completed=done, total=total)

        return [open_source(spec, settings, name=name, labels=labels is not None, progress=report) for spec in specs]


def chosen(**options: int | None) -> dict[str, int]:
    """The options that were given, by name."""
    return {name: value for name, value in options.items() if value is not None}


def ray_of(runner: str, address: str | None, settings: "Settings") -> "Ray | None":
    """The Ray cluster that is to do the work; raises UsageError for an address without `--runner ray`."""
    from retrieval.errors import UsageError
    from retrieval.ingest.options import Ray

    if address is not None and runner != "ray":
        raise UsageError(f"--address {address} is a Ray cluster's; add --runner ray")
    return Ray(settings, address) if runner == "ray" else None


def print_warnings(warnings: Sequence[str]) -> None:
    """What the user should know, though the command has done its work."""
    for warning in warnings:
        echo(f"warning: {warning}", err=True)


def end_with(refused: Sequence["Refused"], *, silent: bool = False) -> None:
    """Name the first few images that could not be used, unless `silent`, and end with the exit code for that."""
    if refused and not silent:
        print_refused(refused)
    if refused:
        raise typer.Exit(REFUSED)


def print_refused(refused: Sequence["Refused"]) -> None:
    """The first few by name."""
    for item in refused[:SHOWN_REFUSALS]:
        echo(f"refused: {item.entry.source}/{item.entry.key}: {item.reason}", err=True)
    if len(refused) > SHOWN_REFUSALS:
        echo(f"refused: {len(refused) - SHOWN_REFUSALS} more (--json lists them all)", err=True)
