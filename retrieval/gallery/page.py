"""A gallery as one self-contained HTML page, or as a piece of HTML for notebooks."""

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from retrieval.gallery.rows import Read, Row, Table, Thumbnail, Tile, cut_notes, load_thumbnail
from retrieval.images.decode import encode_jpeg, encode_png
from retrieval.images.draw import shorten
from retrieval.util.files import write_output

MAX_IMAGES, MAX_HITS = 3000, 60
"""Maximum number of images in a page, and of hits per query: about 30 MB of photos, a few MB of digits."""
SIDE = 168
"""Longer edge of an image in the page, in pixels: six times an MNIST digit."""
PATH = 240
"""Maximum number of characters of a path that are shown; the tooltip has the whole path."""
MAX_FRAGMENT_HITS = 20
"""Maximum number of hits per query in a notebook."""


def write_html(
    path: Path,
    rows: Sequence[Row],
    title: str,
    notes: Sequence[str] = (),
    tables: Sequence[Table] = (),
    rows_title: str = "",
    *,
    pairs: bool = False,
) -> None:
    """Write the page: the notes as paragraphs under the title, then the tables, then the rows.

    An image that cannot be read becomes an empty tile. What exceeds MAX_IMAGES or MAX_HITS is left out, and the page
    says so. Raises RetrievalError when the file cannot be written.

    notes: the first is what to know about the page, and stands out
    rows_title: a heading over the rows
    pairs: each row is an image and its reconstruction, so several fit beside each other
    """
    sections: list[str] = []
    room = MAX_IMAGES
    for row in rows:
        room -= 1 + min(len(row.hits), MAX_HITS)
        if room < 0:
            break
        sections.append(row_section(row))
    template = files("retrieval.gallery").joinpath("page.html").read_text("utf-8")
    style = re.findall(r"<style>(.*?)</style>", template, re.DOTALL)[0]
    notes = [*notes, *cut_notes(rows, len(sections), MAX_HITS)]
    page = Template(template).substitute(
        title=escape(title),
        notes="\n".join(f"<p>{escape(note)}</p>" for note in notes),
        tables="\n".join(table_html(each) for each in tables),
        rows_title=f"<h2>{escape(rows_title)}</h2>" if rows_title else "",
        kind="pairs" if pairs else "rows",
        rows="\n".join(sections),
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
    write_output(path, page.encode())


def row_section(row: Row) -> str:
    """An image and those beside it."""
    hits = "\n".join(figure_html(hit, row.is_match(hit)) for hit in row.hits[:MAX_HITS])
    nothing = f'<p class="none">{escape(row.nothing)}</p>'
    return (
        f'<section>\n{figure_html(row.query, kind="query")}\n<div class="hits">\n{hits or nothing}\n</div>\n</section>'
    )


def figure_html(tile: Tile, match: bool | None = None, kind: str = "hit") -> str:
    """An image, or an empty tile, with its caption: rank and first words, label, name, facts.

    match: whether the label is the query's, which colours it green or orange; None: grey
    """
    rank = "" if tile.rank is None else f'<span class="rank">{tile.rank}</span>'
    pill = {True: "same", False: "other", None: ""}[match]
    lines = [
        f'<span class="head">{rank}<b>{escape(tile.head)}</b></span>',
        f'<span class="label {pill}">{escape(tile.label)}</span>' if tile.label else "",
        path_html(tile.name) if tile.name else "",
        *(f'<span class="fact">{escape(fact)}</span>' for fact in tile.facts),
    ]
    shown = image_html(tile.read, tile.name, tile.alt)
    return f'<figure class="{kind}"><div class="mat">{shown}</div><figcaption>{"".join(lines)}</figcaption></figure>'


def image_html(read: Read | None, where: str, alt: str) -> str:
    """An `<img>` with the image as a data URL, or a few words if it cannot be read."""
    found = load_thumbnail(read, where, SIDE)
    if found is None:
        return f'<span role="img" aria-label="{escape(alt)}, no image">no image</span>'
    look = "tiny" if found.tiny else "photo"
    height, width, _ = found.pixels.shape
    return f'<img class="{look}" src="{data_url(found)}" width="{width}" height="{height}" alt="{escape(alt)}">'


def data_url(found: Thumbnail) -> str:
    """The image as a URL that contains it: PNG if it is tiny, otherwise JPEG."""
    encode, mime = (encode_png, "png") if found.tiny else (encode_jpeg, "jpeg")
    return f"data:image/{mime};base64,{base64.b64encode(encode(found.pixels)).decode()}"


def table_html(numbers: Table) -> str:
    """A table with a caption; the first cell of each row is its heading.

    On a phone each row becomes a block, in which each number stands under its column's name.
    """
    first, *columns = numbers.columns
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in (first, *columns))
    body = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(
            f'<td data-column="{escape(column)}">{escape(cell)}</td>'
            for column, cell in zip(columns, cells, strict=True)
        )
        + "</tr>"
        for name, *cells in numbers.rows
    )
    return (
        f"<table>\n<caption>{escape(numbers.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )


def path_html(where: str) -> str:
    """A path that may be broken after each slash; only the middle of a very long one is left out."""
    shown = escape(shorten(where, PATH)).replace("/", "/<wbr>")
    return f'<span class="path" title="{escape(where)}">{shown}</span>'


def escape(value: str) -> str:
    """Escape text for HTML; characters that UTF-8 cannot encode become `?`."""
    return html.escape(value.encode("utf-8", "replace").decode())


def fragment(rows: Sequence[Row]) -> str:
    """Rows as HTML for a notebook, with at most MAX_FRAGMENT_HITS hits each."""
    return "\n".join(map(fragment_row, rows))


def fragment_row(row: Row) -> str:
    """A query and its hits, side by side."""
    cells = "".join(map(fragment_cell, (row.query, *row.hits[:MAX_FRAGMENT_HITS])))
    remarks = row.query.facts if row.hits else [row.nothing]
    note = "".join(f"<div>{escape(remark)}</div>" for remark in remarks)
    return f'<div style="display:flex;flex-wrap:wrap;gap:12px;margin:8px 0">{cells}</div>{note}'


def fragment_cell(tile: Tile) -> str:
    """An image with its caption."""
    shown, name = image_html(tile.read, tile.name, tile.alt), escape(tile.name)
    return (
        f'<figure style="margin:0;width:168px;font-size:12px"><div style="height:168px;overflow:hidden">{shown}</div>'
        f'<figcaption title="{name}" style="overflow-wrap:anywhere"><b>{escape(tile.head)}</b><br>'
        f"{escape(shorten(tile.name, PATH))}</figcaption></figure>"
    )
