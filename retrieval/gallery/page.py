"""A gallery as one HTML page that needs nothing else, or as a piece of HTML for notebooks."""

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from retrieval.gallery.rows import EXPLANATION, NOTHING, TITLE, Read, Row, Table, Tile, left_out, small
from retrieval.images.decode import encode_jpeg, encode_png
from retrieval.images.draw import shorten
from retrieval.schema.records import full_name
from retrieval.util.files import write_output

MAX_PICTURES, MAX_HITS = 3000, 60
"""Pictures in a page, and hits of one query: at most some 30 MB of photos, a few of digits."""
SIDE = 168
"""Longer edge in pixels of a picture in the page: six times an MNIST digit."""
PATH = 44
"""Characters of a path that are shown; all of it appears when the pointer rests on it."""

MOST_HITS = 20


def write_html(
    path: Path, rows: Sequence[Row], title: str = TITLE, notes: Sequence[str] = (), tables: Sequence[Table] = ()
) -> None:
    """Write the page; `notes` are paragraphs under the title, `tables` come between them and the rows.

    A picture that cannot be read becomes an empty tile. What is beyond MAX_PICTURES and MAX_HITS is left out, and
    the page says so. Raises RetrievalError when the file cannot be written.
    """
    sections: list[str] = []
    room = MAX_PICTURES
    for row in rows:
        room -= 1 + min(len(row.hits), MAX_HITS)
        if room < 0:
            break
        sections.append(section(row))
    template = files("retrieval.gallery").joinpath("page.html").read_text("utf-8")
    style = re.findall(r"<style>(.*?)</style>", template, re.DOTALL)[0]
    notes = [EXPLANATION, *notes, *left_out(rows, len(sections), MAX_HITS)]
    page = Template(template).substitute(
        title=text(title),
        notes="\n".join(f"<p>{text(note)}</p>" for note in notes),
        tables="\n".join(table(each) for each in tables),
        rows="\n".join(sections),
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
    write_output(path, page.encode())


def section(row: Row) -> str:
    """A query and its hits."""
    hits = "\n".join(hit_figure(row, rank, hit) for rank, hit in enumerate(row.hits[:MAX_HITS], start=1))
    nothing = f'<p class="none">{text(row.refused or NOTHING)}</p>'
    caption = f"<b>query</b>{label(row.label)}{name(row.query)}{remark(row.note)}"
    return (
        f"<section>\n{figure(row.read, row.query, f'query {row.query}', caption, 'query')}\n"
        f'<div class="hits">\n{hits or nothing}\n</div>\n</section>'
    )


def hit_figure(row: Row, rank: int, hit: Tile) -> str:
    """A hit: rank, distance, label and path under its picture."""
    where = full_name(hit.source, hit.name)
    kind = {True: "same", False: "other", None: ""}[row.right(hit)]
    caption = f'<span class="rank">{rank}</span><b>{hit.nearness}</b>{label(hit.label, kind)}{name(where)}'
    return figure(hit.read, where, f"hit {rank}: {where}, distance {hit.distance:.4f}", caption, "hit")


def figure(read: Read | None, where: str, alt: str, caption: str, kind: str) -> str:
    """A picture, or an empty tile, and the caption (HTML) under it."""
    shown = picture(read, where, alt)
    return f'<figure class="{kind}"><div class="mat">{shown}</div><figcaption>{caption}</figcaption></figure>'


def picture(read: Read | None, where: str, alt: str) -> str:
    """A picture within the page, or words in its place."""
    found = small(read, where, SIDE)
    if found is None:
        return f'<span role="img" aria-label="{text(alt)}, no picture">no picture</span>'
    encode, mime, look = (encode_png, "png", "tiny") if found.tiny else (encode_jpeg, "jpeg", "photo")
    height, width, _ = found.pixels.shape
    source = f"data:image/{mime};base64,{base64.b64encode(encode(found.pixels)).decode()}"
    return f'<img class="{look}" src="{source}" width="{width}" height="{height}" alt="{text(alt)}">'


def label(value: str | None, kind: str = "") -> str:
    """A pill: kind `same` is green, `other` orange."""
    return f'<span class="label {kind}">{text(value)}</span>' if value else ""


def remark(value: str | None) -> str:
    """A line under the path."""
    return f'<span class="note">{text(value)}</span>' if value else ""


def table(numbers: Table) -> str:
    """A table with its caption, the first cell of a row as its heading."""
    head = "".join(f'<th scope="col">{text(column)}</th>' for column in numbers.columns)
    body = "\n".join(
        f'<tr><th scope="row">{text(first)}</th>' + "".join(f"<td>{text(cell)}</td>" for cell in cells) + "</tr>"
        for first, *cells in numbers.rows
    )
    return (
        f"<table>\n<caption>{text(numbers.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )


def name(where: str) -> str:
    """A path, shortened in the middle."""
    return f'<span class="path" title="{text(where)}">{text(shorten(where, PATH))}</span>'


def text(value: str) -> str:
    """Any text, as HTML shows it; what UTF-8 cannot hold becomes `?`."""
    return html.escape(value.encode("utf-8", "replace").decode())


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
