"""`retrieval outliers`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.console import count_task, echo, print_json, print_left_out, print_while_read, progress_bar
from retrieval.cli.help import OUTPUT, SELECTION
from retrieval.cli.options import Alias, Json, QdrantUrl, Tasks
from retrieval.cli.render.tables import print_table
from retrieval.errors import DEFAULT_ALIAS

if TYPE_CHECKING:
    from retrieval.search.outliers import Outlier

LIMIT = 50


def outliers(
    limit: Annotated[
        int,
        typer.Option(
            min=1, rich_help_panel=SELECTION, help="Show at most this many images, the strongest outliers first."
        ),
    ] = LIMIT,
    html: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=OUTPUT,
            help="Write the outliers to this file, as a page with each image beside its reconstruction.",
        ),
    ] = None,
    tasks: Tasks = None,
    alias: Alias = DEFAULT_ALIAS,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Find images far from all others, or badly reconstructed.

    Measures two things of each image: the distance to its fifth nearest neighbour, and the error of its reconstruction.
    The score says by how many standard deviations the more unusual of the two is above the collection's median.
    The page of `retrieval serve` shows the list that was made last.

    $ retrieval outliers --limit 20
    $ retrieval outliers --html outliers.html
    """
    from retrieval.api import Index
    from retrieval.config import load_settings
    from retrieval.ops.reviews import review_outliers, save_review

    if tasks:
        from retrieval.gallery.tasks import check_tasks_file, write_outlier_tasks

        check_tasks_file(tasks)
    with Index.open(alias, settings=load_settings(qdrant_url=qdrant_url)) as index, progress_bar() as bar:
        found = index.outliers(limit, report=count_task(bar, "Reading"), note=partial(echo, err=True))
        save_review(index.settings.reviews, alias, "outliers", review_outliers(found))
        if html:
            from retrieval.gallery.review import write_outliers

            write_outliers(html, found, index.sources(), index.reconstruct([each.id for each in found]))
        if tasks:
            print_left_out(write_outlier_tasks(tasks, found, index.sources()), tasks)
    show = partial(print_outliers, as_json=as_json)
    (print_while_read(show) if html or tasks else show)(found)


def print_outliers(found: "Sequence[Outlier]", *, as_json: bool) -> None:
    """Print a row for each."""
    if as_json:
        for each in found:
            print_json(each.to_json())
        return
    rows = [
        [
            f"{each.score:.1f}",
            each.why,
            f"{each.distance:.4f}",
            "" if each.error is None else f"{each.error:.4f}",
            each.name,
            each.payload.get("label") or "",
        ]
        for each in found
    ]
    columns = ["score", "why", "distance", "error", "path", "label"]
    print_table(columns, rows, numbers=("score", "distance", "error"))
