"""`retrieval duplicates`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.cli.console import echo, print_left_out, print_while_read, progress_bar, step_task
from retrieval.cli.help import ACTION, OUTPUT, SELECTION
from retrieval.cli.options import Alias, JsonLines, QdrantUrl, Tasks
from retrieval.cli.render.formats import Output, choose_output, groups_printer
from retrieval.errors import DEFAULT_ALIAS, REFUSED, UsageError
from retrieval.util.wording import count_of

if TYPE_CHECKING:
    from retrieval.duplicates.groups import Group
    from retrieval.duplicates.quarantine import Moved


def duplicates(
    max_distance: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="DISTANCE",
            rich_help_panel=SELECTION,
            show_default="compare the pixels",
            help="Count images as duplicates if their embeddings are at most this far apart.",
        ),
    ] = None,
    max_percentile: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            metavar="PERCENTILE",
            rich_help_panel=SELECTION,
            help="Like --max-distance, but as a percentile: 20 is the distance within which 20% of the stored images "
            "have their nearest neighbour.",
        ),
    ] = None,
    apply: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=ACTION,
            help="Move the files of all duplicates except the one to keep into this folder, and list the moves in its"
            " undo.jsonl.",
        ),
    ] = None,
    undo: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=ACTION,
            help="Undo --apply: move the files back; FILE is its undo.jsonl.",
        ),
    ] = None,
    output: Annotated[
        Output | None,
        typer.Option(
            rich_help_panel=OUTPUT,
            show_default="table",
            help="How to print groups: as a table; as an array (json) or one object per line (jsonl); as rows for "
            "a spreadsheet (csv); or as paths0: only the files to remove, each name followed by a NUL, for "
            "`xargs -0`.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(rich_help_panel=OUTPUT, help="Write the groups to this file, as a page with images to review."),
    ] = None,
    tasks: Tasks = None,
    alias: Alias = DEFAULT_ALIAS,
    qdrant_url: QdrantUrl = None,
    as_json: JsonLines = False,
) -> None:
    """Find near-duplicates and say which image to keep.

    Two images are duplicates if they differ only by compression, size, brightness, contrast or a shift of one pixel.
    Deletes nothing: --apply moves files, and the collection keeps the points (the stored entries) of moved files until
    `retrieval ingest --prune`. The page of `retrieval serve` shows the list that was made last.

    $ retrieval duplicates --html duplicates.html
    $ retrieval duplicates --apply set-aside
    """
    form = choose_output(output, as_json=as_json)
    if undo:
        if apply or html or tasks:
            raise UsageError("--undo cannot be combined with --apply, --html or --tasks")
        undo_and_print(undo)
        return

    from retrieval.api import Index
    from retrieval.config import load_settings
    from retrieval.duplicates.job import DuplicateSummary
    from retrieval.ops.reviews import MOST_ROWS, review_duplicates, save_review

    if tasks:
        from retrieval.gallery.tasks import check_tasks_file, write_duplicate_tasks

        check_tasks_file(tasks)
    summary = DuplicateSummary()
    found: list[Group] = []
    with (
        Index.open(alias, settings=load_settings(qdrant_url=qdrant_url)) as index,
        progress_bar() as bar,
        groups_printer(form, index) as show,
    ):
        for group in index.duplicates(
            summary,
            max_distance=max_distance,
            max_percentile=max_percentile,
            step=step_task(bar, "Reading"),
            note=partial(echo, err=True),
        ):
            if apply or html or tasks or len(found) < MOST_ROWS:
                found.append(group)
            if apply or html or tasks:
                print_while_read(show)(group)
            else:
                show(group)
        sources = index.sources()
        save_review(index.settings.reviews, alias, "duplicates", review_duplicates(found, summary.groups))
    print_counts(summary)
    if html:
        from retrieval.gallery.review import write_duplicates

        write_duplicates(html, found, sources, summary.points)
    if tasks:
        print_left_out(write_duplicate_tasks(tasks, found, sources), tasks)
    if apply:
        from retrieval.duplicates.quarantine import set_aside

        moved = [report_move(each) for each in set_aside(found, sources, apply)]
        files = count_of(sum(moved), "file")
        echo(f"{files} moved to {apply}; undo with: retrieval duplicates --undo {apply}/undo.jsonl")
        if not all(moved):
            raise typer.Exit(REFUSED)


def print_counts(summary: Any) -> None:
    """Print how many duplicates were found, among how many images."""
    groups, images = count_of(summary.groups, "group"), count_of(summary.duplicates, "image")
    unread = f"; of {count_of(summary.unread, 'unreadable image')} only the exact copies are found"
    echo(
        f"{count_of(summary.points, 'image')}: {groups}, {images} can be removed{unread * bool(summary.unread)}",
        err=True,
    )


def report_move(moved: "Moved") -> bool:
    """Return whether the file was moved; if not, print why."""
    if moved.problem:
        echo(f"refused: {moved.origin}: {moved.problem}", err=True)
    return moved.problem is None


def undo_and_print(undo: Path) -> None:
    """Move the files back, and name those that could not be."""
    from retrieval.duplicates.quarantine import undo_moves

    moved = [report_move(each) for each in undo_moves(undo)]
    echo(f"{count_of(sum(moved), 'file')} put back")
    if not all(moved):
        raise typer.Exit(REFUSED)
