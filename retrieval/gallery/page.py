"""A gallery as one self-contained HTML page, or as a piece of HTML for notebooks."""

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from retrieval.gallery.rows import EXPLANATION, TITLE, Read, Row, Table, Tile, cut_notes, load_thumbnail
from retrieval.images.decode import encode_jpeg, encode_png
from retrieval.images.draw import shorten
from retrieval.schema.records import full_name
from retrieval.search.results import NOTHING_ELSE
from retrieval.util.files import write_output

MAX_IMAGES, MAX_HITS = 3000, 60
"""Maximum number of images in a page, and of hits per query: about 30 MB of photos, a few MB of digits."""
SIDE = 168
"""Longer edge of an image in the page, in pixels: six times an MNIST digit."""
PATH = 44
"""Characters of a path that are shown; the tooltip has the whole path."""
MAX_FRAGMENT_HITS = 20
"""Maximum number of hits per query in a notebook."""


def write_html(
    path: Path, rows: Sequence[Row], title: str = TITLE, notes: Sequence[str] = (), tables: Sequence[Table] = ()
) -> None:
    """Write the page: the notes as paragraphs under the title, then the tables, then the rows.

    An image that cannot be read becomes an empty tile. What exceeds MAX_IMAGES or MAX_HITS is left out, and the page
    says so. Raises RetrievalError when the file cannot be written.
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
    notes = [EXPLANATION, *notes, *cut_notes(rows, len(sections), MAX_HITS)]
    page = Template(template).substitute(
        title=escape(title),
        notes="\n".join(f"<p>{escape(note)}</p>" for note in notes),
        tables="\n".join(table_html(each) for each in tables),
        rows="\n".join(sections),
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
    write_output(path, page.encode())


def row_section(row: Row) -> str:
    """A query and its hits."""
    hits = "\n".join(hit_figure(row, rank, hit) for rank, hit in enumerate(row.hits[:MAX_HITS], start=1))
    nothing = f'<p class="none">{escape(row.refused or NOTHING_ELSE)}</p>'
    caption = f"<b>query</b>{label_html(row.label)}{path_html(row.query)}{remark_html(row.note)}"
    return (
        f"<section>\n{figure_html(row.read, row.query, f'query {row.query}', caption, 'query')}\n"
        f'<div class="hits">\n{hits or nothing}\n</div>\n</section>'
    )


def hit_figure(row: Row, rank: int, hit: Tile) -> str:
    """A hit: rank, distance, label and path under its image."""
    where = full_name(hit.source, hit.name)
    kind = {True: "same", False: "other", None: ""}[row.is_match(hit)]
    caption = f'<span class="rank">{rank}</span><b>{hit.nearness}</b>{label_html(hit.label, kind)}{path_html(where)}'
    return figure_html(hit.read, where, f"hit {rank}: {where}, distance {hit.distance:.4f}", caption, "hit")


def figure_html(read: Read | None, where: str, alt: str, caption: str, kind: str) -> str:
    """An image, or an empty tile, with the caption (HTML) under it."""
    shown = image_html(read, where, alt)
    return f'<figure class="{kind}"><div class="mat">{shown}</div><figcaption>{caption}</figcaption></figure>'


def image_html(read: Read | None, where: str, alt: str) -> str:
    """An `<img>` with the image as a data URL, or a few words if it cannot be read."""
    found = load_thumbnail(read, where, SIDE)
    if found is None:
        return f'<span role="img" aria-label="{escape(alt)}, no image">no image</span>'
    encode, mime, look = (encode_png, "png", "tiny") if found.tiny else (encode_jpeg, "jpeg", "photo")
    height, width, _ = found.pixels.shape
    source = f"data:image/{mime};base64,{base64.b64encode(encode(found.pixels)).decode()}"
    return f'<img class="{look}" src="{source}" width="{width}" height="{height}" alt="{escape(alt)}">'


def label_html(value: str | None, kind: str = "") -> str:
    """A label as a pill: green for kind `same`, orange for `other`."""
    return f'<span class="label {kind}">{escape(value)}</span>' if value else ""


def remark_html(value: str | None) -> str:
    """A line under the path."""
    return f'<span class="note">{escape(value)}</span>' if value else ""


def table_html(numbers: Table) -> str:
    """A table with a caption; the first cell of each row is its heading."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in numbers.columns)
    body = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for first, *cells in numbers.rows
    )
    return (
        f"<table>\n<caption>{escape(numbers.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )


def path_html(where: str) -> str:
    """A path, shortened in the middle."""
    return f'<span class="path" title="{escape(where)}">{escape(shorten(where, PATH))}</span>'


def escape(value: str) -> str:
    """Escape text for HTML; characters that UTF-8 cannot encode become `?`."""
    return html.escape(value.encode("utf-8", "replace").decode())


def fragment(rows: Sequence[Row]) -> str:
    """Rows as HTML for a notebook, with at most MAX_FRAGMENT_HITS hits each."""
    return "\n".join(map(fragment_row, rows))


def fragment_row(row: Row) -> str:
    """A query and its hits, side by side."""
    cells = [fragment_cell(image_html(row.read, row.query, row.query), "query", row.query)]
    cells += [
        fragment_cell(image_html(hit.read, hit.path, hit.name), hit.nearness, full_name(hit.source, hit.name))
        for hit in row.hits[:MAX_FRAGMENT_HITS]
    ]
    remark = row.note or (None if row.hits else row.refused or NOTHING_ELSE)
    note = f"<div>{escape(remark)}</div>" if remark else ""
    return f'<div style="display:flex;flex-wrap:wrap;gap:12px;margin:8px 0">{"".join(cells)}</div>{note}'


def fragment_cell(shown: str, head: str, name: str) -> str:
    """An image with its caption."""
    return (
        f'<figure style="margin:0;width:168px;font-size:12px"><div style="height:168px;overflow:hidden">{shown}</div>'
        f'<figcaption title="{escape(name)}"><b>{escape(head)}</b><br>{escape(name[-40:])}</figcaption></figure>'
    )
