"""Tables for people: names aligned left, numbers right, nothing cut off."""

from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING

from retrieval.cli.console import stdout
from retrieval.util.sanitize import escape_unprintable

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 200


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Container[str],
    title: str | None = None,
    console: "Console | None" = None,
) -> None:
    """Print a table as wide as the terminal, or in a pipe as wide as it needs to be.

    numbers: the columns that are aligned right.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape_unprintable, row))  # a cell is one line
    console = console or stdout()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    if title:  # not the table's: that would be broken at its width
        console.print(Text(escape_unprintable(title), "bold"), soft_wrap=True)
    console.print(table)
