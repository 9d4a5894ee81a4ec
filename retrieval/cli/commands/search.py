"""`retrieval search`."""

import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.console import echo, print_while_read
from retrieval.cli.help import OUTPUT, QUERIES, SELECTION
from retrieval.cli.options import SOURCES, Alias, JsonLines, Model, QdrantUrl
from retrieval.cli.queries import STDIN, all_queries, example_query
from retrieval.cli.render.formats import Output, choose_output, result_printer
from retrieval.errors import DEFAULT_ALIAS, REFUSED, SourceError, UsageError, with_alias
from retrieval.search.options import K, SearchOptions

if TYPE_CHECKING:
    from retrieval.search.results import Result

SHOWN = 3000
"""Maximum number of results kept for --html and --png, which show no more."""


def search(
    image: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE", help=f"Queries: image files, {SOURCES}; - for one image from stdin."),
    ] = None,
    stored: Annotated[
        bool,
        typer.Option(
            "--stored",
            rich_help_panel=QUERIES,
            help="Read each IMAGE, and each line of --list, as the id or SOURCE/PATH of a stored image.",
        ),
    ] = False,
    list_: Annotated[
        Path | None,
        typer.Option(
            "--list",
            rich_help_panel=QUERIES,
            help="Text file with the paths of more queries, one per line; - for stdin.",
        ),
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE",
            rich_help_panel=QUERIES,
            help="Find images like this one (an image file, id or SOURCE/PATH); may be repeated.",
        ),
    ] = None,
    unlike: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE",
            rich_help_panel=QUERIES,
            help="With --like: prefer images unlike this one; may be repeated.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", rich_help_panel=SELECTION, help="Number of hits per query.")] = K,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            rich_help_panel=SELECTION,
            help="Search only images that match this filter, like 'label=7 and width>=640 and path~\"2024/*\"'.",
        ),
    ] = None,
    max_distance: Annotated[
        float | None,
        typer.Option(
            metavar="DISTANCE",
            rich_help_panel=SELECTION,
            help="Leave out hits that are farther than this from the query.",
        ),
    ] = None,
    max_percentile: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENTILE",
            rich_help_panel=SELECTION,
            help="Like --max-distance, but as a percentile: 20 is the distance within which 20% of the stored images "
            "have their nearest neighbour (0 to 100).",
        ),
    ] = None,
    diverse: Annotated[
        bool, typer.Option("--diverse", rich_help_panel=SELECTION, help="Prefer hits that differ from each other.")
    ] = False,
    keep_copies: Annotated[
        bool,
        typer.Option(
            "--keep-copies",
            rich_help_panel=SELECTION,
            help="Show exact copies of an image as separate hits, not as one.",
        ),
    ] = False,
    include_self: Annotated[
        bool,
        typer.Option(
            rich_help_panel=SELECTION,
            show_default="leave them out",
            help="Also show stored images that are identical to the query.",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=QUERIES, show_default="all", help="Use only the first N queries."),
    ] = None,
    output: Annotated[
        Output | None,
        typer.Option(
            rich_help_panel=OUTPUT,
            show_default="table",
            help="How to print hits: as a table; as an array (json) or one object per line (jsonl); as rows for a "
            "spreadsheet (csv); or as paths0: only the hits' files, each name followed by a NUL, for `xargs "
            "-0`.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(rich_help_panel=OUTPUT, help="Write the results to this file, as a page with images."),
    ] = None,
    png: Annotated[
        Path | None, typer.Option(rich_help_panel=OUTPUT, help="Write the results to this file, as one image.")
    ] = None,
    show_images: Annotated[
        bool,
        typer.Option(
            "--show",
            rich_help_panel=OUTPUT,
            help="On a terminal, show the images too: real ones in Kitty, Ghostty, iTerm2, WezTerm and mintty, coloured"
            " blocks elsewhere.",
        ),
    ] = False,
    alias: Alias = DEFAULT_ALIAS,
    model: Model = None,
    qdrant_url: QdrantUrl = None,
    as_json: JsonLines = False,
) -> None:
    """Find the images nearest to each query.

    Compares images by the Euclidean distance between their embeddings: the smaller, the more alike. If nothing in the
    collection resembles a query, its result says so. If the last `retrieval evaluate` found that most hits
    are wrong, or that a baseline does better, search warns that retrieval is weak.

    $ retrieval search query.png --show
    $ retrieval search scans --limit 20 --where 'label=7' --html hits.html
    """
    options = SearchOptions(
        k=k,
        include_self=include_self,
        keep_copies=keep_copies,
        diverse=diverse,
        max_distance=max_distance,
        max_percentile=max_percentile,
    )
    form = choose_output(output, as_json=as_json)
    if show_images and form != "table":
        raise UsageError(f"--show cannot be combined with --output {form}")
    check_query_options(image, like, unlike, list_, stored=stored, diverse=diverse)

    from retrieval.api import Index
    from retrieval.cli.render.results import write_galleries
    from retrieval.config import load_settings

    settings = load_settings(qdrant_url=qdrant_url)
    shown: list[Result] = []
    refused: list[Result] = []
    weak: str | None = None
    asked, started = 0, time.monotonic()
    with (
        Index.open(alias, model=model, settings=settings) as index,
        result_printer(form, index, show_images=show_images) as show,
    ):
        options = replace(options, where=index.filter(where))
        if like:
            results = iter([index.recommend([*map(example_query, like)], [*map(example_query, unlike or [])], options)])
        else:
            queries = all_queries(image or [], list_, settings, stored=stored)
            results = index.stream(itertools.islice(queries, limit), options)
        for result in results:
            asked += 1
            weak = result.weak or weak
            if result.refused is not None:
                refused.append(result)
            if not (html or png):
                show(result)
                continue
            print_while_read(show)(result)
            if len(shown) < SHOWN:
                shown.append(result)
        if shown:
            write_galleries(index.rows(shown), html=html, png=png, note=weak)
    if weak:
        echo(f"warning: {weak}; see: {with_alias('retrieval status', alias)}", err=True)
    report_refused(refused, asked, time.monotonic() - started)


def check_query_options(
    image: list[str] | None,
    like: list[str] | None,
    unlike: list[str] | None,
    list_: Path | None,
    *,
    stored: bool,
    diverse: bool,
) -> None:
    """Raise UsageError for options that contradict each other, and for no query at all."""
    if unlike and not like:
        raise UsageError("--unlike needs --like: name at least one image that hits should be like")
    if like and (image or list_ or stored):
        raise UsageError("--like cannot be combined with other queries; give either")
    if like and diverse:
        raise UsageError("--like cannot be combined with --diverse")
    if not (image or like or list_):
        raise UsageError("nothing to search with; give an image, --list or --like")
    if STDIN in (image or []) and (stored or str(list_) == STDIN):
        raise UsageError(
            f"{STDIN} reads one image from stdin, so it cannot be combined with --stored or --list {STDIN}"
        )


def report_refused(refused: "list[Result]", asked: int, seconds: float) -> None:
    """Print how long several queries took, and name the queries that could not be used."""
    if refused and len(refused) == asked:
        none = "" if asked == 1 else f"none of {asked:,} queries can be used; the first: "
        raise SourceError(f"{none}{refused[0].query.name}: {refused[0].refused}")
    if asked > 1:
        echo(f"{asked:,} queries in {seconds:.1f} s, {asked / seconds:,.0f} a second", err=True)
    for result in refused:
        echo(f"refused: {result.query.name}: {result.refused}", err=True)
    if refused:
        raise typer.Exit(REFUSED)
