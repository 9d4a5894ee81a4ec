"""`retrieval evaluate`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.console import (
    echo,
    exit_if_refused,
    print_json,
    print_while_read,
    progress_bar,
    stdout,
    step_task,
)
from retrieval.cli.help import ENGINE, OUTPUT, SELECTION
from retrieval.cli.options import SOURCES, AnyModel, Json, Labels, QdrantUrl, open_sources
from retrieval.cli.render.tables import print_table
from retrieval.errors import DEFAULT_ALIAS

if TYPE_CHECKING:
    from retrieval.evaluate.report import Report


def evaluate(
    source: Annotated[list[str], typer.Argument(metavar="SOURCE", help=f"Images to search: {SOURCES}.")],
    queries: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            rich_help_panel=SELECTION,
            show_default="each image searches the others",
            help="Images to search with, ideally none that the model was trained on; may be repeated.",
        ),
    ] = None,
    labels: Labels = None,
    k: Annotated[
        int,
        typer.Option(
            "-k",
            "--k",
            rich_help_panel=SELECTION,
            help="Number of hits per query, k. P@k is the share of the k hits that have the query's label, "
            "recall@k the share of queries with at least one such hit.",
        ),
    ] = 5,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=SELECTION,
            show_default="10,000",
            help="Maximum number of queries; if there are more, a random sample is used, the same one in every run.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=OUTPUT, help="Write the metrics and the worst queries to this file, as a page with images."
        ),
    ] = None,
    alias: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=ENGINE,
            show_default="images, if that collection exists",
            help="Alias of the collection with which the verdict is stored; evaluate also measures how many of the "
            "truly nearest images its engine finds.",
        ),
    ] = None,
    model: AnyModel = None,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Measure retrieval quality against baselines.

    The baselines are raw pixels, PCA, a colour histogram if the images have colour, a perceptual hash, the frozen trunk
    (a network that has seen photographs), and the network without training. Without --labels, evaluate only measures
    how often a distorted copy of an image finds its original. The model is trained to ignore such distortions, so there
    is no verdict then, unless raw pixels find more.

    The verdict is stored with the collection if the collection was made with this model. If it is bad, searches say so.

    $ retrieval evaluate digits --labels folder --html report.html
    $ retrieval evaluate mnist:train --queries mnist:test --labels folder
    """
    from retrieval.config import load_settings
    from retrieval.evaluate import job
    from retrieval.evaluate.render import write_report
    from retrieval.model.resolve import load_model, make_encoder

    settings = load_settings(qdrant_url=qdrant_url)
    encoder = make_encoder(settings, load_model(settings, model))
    sources = open_sources(source, settings, labels=labels)
    asking = open_sources(queries, settings, labels=labels) if queries else None
    with progress_bar() as bar:
        report = job.evaluate(
            settings,
            encoder,
            sources,
            asking,
            alias or DEFAULT_ALIAS,
            must_compare=alias is not None,
            k=k,
            limit=limit or job.LIMIT,
            step=step_task(bar, "Reading"),
        )
    show = partial(print_report, as_json=as_json)
    (print_while_read(show) if html else show)(report)
    for note in report.notes:
        echo(f"note: {note}", err=True)
    if report.helped is False:
        echo(f"warning: {report.verdict}; {report.advice}", err=True)
    if html:
        write_report(html, report)
    exit_if_refused(report.refused)


def print_report(report: "Report", *, as_json: bool) -> None:
    """Print the metrics and the verdict."""
    from retrieval.evaluate.render import score_tables, summary_lines

    if as_json:
        print_json(report.to_json())
        return
    for table in score_tables(report):
        print_table(table.columns, table.rows, numbers=table.columns[1:], title=table.caption)
    stdout().print("\n".join(summary_lines(report)), soft_wrap=True)
