"""Options that several commands share, and functions that interpret them."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from retrieval.cli.console import progress_bar
from retrieval.cli.help import CLUSTER, ENGINE, FIELDS, LIMITS, OUTPUT, SELECTION

if TYPE_CHECKING:
    from rich.progress import Progress

    from retrieval.config import Settings
    from retrieval.ingest.options import RayCluster
    from retrieval.sources import Source

Alias = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=ENGINE,
        help="Alias of the collection: the name that stays when a re-index replaces the collection behind it.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        rich_help_panel=ENGINE,
        show_default="the collection's model, or the default model",
        help="A model's folder, or the first characters of its fingerprint (the hash that identifies it).",
    ),
]
AnyModel = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        rich_help_panel=ENGINE,
        show_default="the default model",
        help="A model's folder, or the first characters of its fingerprint (the hash that identifies it).",
    ),
]
"""For a command that does not use the collection's model."""
QdrantUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL[,URL...]",
        rich_help_panel=ENGINE,
        show_default="$QDRANT_URL, or the embedded engine",
        help="URL of a Qdrant server, or the URLs of all nodes (servers) of a cluster.",
    ),
]
PublicUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        rich_help_panel=ENGINE,
        show_default="keep the current one",
        help="URL at which browsers reach `retrieval serve`; the Qdrant dashboard loads images from it.",
    ),
]
Shards = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1000,
        rich_help_panel=CLUSTER,
        show_default="one per node",
        help="Number of parts (shards) that a new collection is split into.",
    ),
]
Replicas = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100,
        rich_help_panel=CLUSTER,
        show_default="2 on a cluster",
        help="Number of copies (replicas) that the cluster keeps of each shard of a new collection.",
    ),
]
WriteConsistency = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100,
        rich_help_panel=CLUSTER,
        show_default="1",
        help="Number of replicas that must confirm each write to a new collection.",
    ),
]
Runner = Annotated[
    Literal["here", "ray"],
    typer.Option(
        rich_help_panel=CLUSTER,
        help="Where to read, encode and store images: `here` is this machine, `ray` is a Ray cluster.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|auto",
        rich_help_panel=CLUSTER,
        show_default="start Ray on this machine",
        help="With --runner ray: address of the Ray cluster.",
    ),
]
Json = Annotated[bool, typer.Option("--json", rich_help_panel=OUTPUT, help="Print JSON.")]
JsonLines = Annotated[
    bool, typer.Option("--json", rich_help_panel=OUTPUT, help="Print JSON, for programs; the same as --output jsonl.")
]
"""For a command that has `--output`."""
Name = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=SELECTION,
        show_default="the name of its folder or file",
        help="Short name of the source.",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="folder",
        rich_help_panel=FIELDS,
        show_default="no labels",
        help="Take each image's label from the name of its folder, or from a Parquet file's label column; "
        "data sets, WebDataset shards among them, have labels of their own. Training never uses labels.",
    ),
]
MetricsFile = Annotated[
    Path | None,
    typer.Option(rich_help_panel=OUTPUT, help="Write the run's metrics to this file, as Prometheus text."),
]
Tasks = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=OUTPUT,
        help="Write them to this file, to review in another tool: .json for Label Studio, .csv for FiftyOne.",
    ),
]
LogJson = Annotated[
    bool, typer.Option("--log-json", rich_help_panel=OUTPUT, help="Write the log to stderr, as JSON lines.")
]
MaxFailures = Annotated[
    int,
    typer.Option(
        min=0,
        rich_help_panel=LIMITS,
        help="Stop once more images than this are newly refused; what has been stored by then is kept.",
    ),
]

SOURCES = "folders, archives, Parquet files, lists of paths, data sets or URLs"
"""What a SOURCE may be, in the help of an argument."""


def as_flag(option: str) -> str:
    """An argument as it is typed.

    >>> as_flag("max_distance")
    '--max-distance'
    """
    return f"--{option.replace('_', '-')}"


def open_sources(
    specs: list[str], settings: "Settings", name: str | None = None, labels: str | None = None
) -> list["Source"]:
    """Open the sources of a command line; a data set that is not on this machine is downloaded, with a progress bar.

    Raises UsageError for a name or labels that do not fit the sources, SourceError as `open_source`.
    """
    from retrieval.errors import UsageError
    from retrieval.sources import open_source

    if labels not in (None, "folder"):
        raise UsageError(f"{labels!r} is not a kind of labels", option="labels", hint="the only kind is `folder`")
    if name is not None and len(specs) > 1:
        raise UsageError(
            f"{name} would be the name of {len(specs)} sources",
            option="name",
            hint="ingest them one by one, each with its own --name",
        )
    with contextlib.ExitStack() as stack:
        bars: list[Progress] = []  # none until something is downloaded: importing it takes a while
        tasks: dict[str, Any] = {}

        def report(file: str, done: int, total: int | None) -> None:
            if not bars:
                bars.append(stack.enter_context(progress_bar()))
            if file not in tasks:
                tasks[file] = bars[0].add_task(f"Downloading {file}", total=total, unit="bytes", note="")
            bars[0].update(tasks[file], completed=done, total=total)

        return [open_source(spec, settings, name=name, labels=labels is not None, progress=report) for spec in specs]


def given_options(**options: int | None) -> dict[str, int]:
    """The options that were given, by name."""
    return {name: value for name, value in options.items() if value is not None}


def ray_of(runner: str, address: str | None, settings: "Settings") -> "RayCluster | None":
    """The Ray cluster to run on, None for this machine; raises UsageError for an address without `--runner ray`."""
    from retrieval.errors import UsageError
    from retrieval.ingest.options import RayCluster

    if address is not None and runner != "ray":
        raise UsageError(f"{address} is the address of a Ray cluster", option="address", hint="add --runner ray")
    return RayCluster(settings, address) if runner == "ray" else None
