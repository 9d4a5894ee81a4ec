"""Search results as a piece of HTML for notebooks: pictures within it, no style but its own."""

from collections.abc import Sequence

from retrieval.gallery.page import picture, text
from retrieval.gallery.rows import NOTHING, Row
from retrieval.schema.records import full_name

MOST_HITS = 20


def fragment(rows: Sequence[Row]) -> str:
    """The rows' queries and hits; no more than MOST_HITS of each."""
    return "\n".join(map(line, rows))


def line(row: Row) -> str:
    """A query and its hits, side by side."""
    cells = [cell(picture(row.read, row.query, row.query), "query", row.query)]
    cells += [
        cell(picture(hit.read, hit.path, hit.name), hit.nearness, full_name(hit.source, hit.name))
        for hit in row.hits[:MOST_HITS]
    ]
    said = row.note or (None if row.hits else row.refused or NOTHING)
    note = f"<div>{text(said)}</div>" if said else ""
    return f'<div style="display:flex;flex-wrap:wrap;gap:12px;margin:8px 0">{"".join(cells)}</div>{note}'


def cell(shown: str, head: str, name: str) -> str:
    """A picture and what is under it."""
    return (
        f'<figure style="margin:0;width:168px;font-size:12px"><div style="height:168px;overflow:hidden">{shown}</div>'
        f'<figcaption title="{text(name)}"><b>{text(head)}</b><br>{text(name[-40:])}</figcaption></figure>'
    )
