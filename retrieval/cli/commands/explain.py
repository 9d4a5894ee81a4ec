"""`retrieval explain`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.console import echo, print_json, stdout
from retrieval.cli.help import OUTPUT
from retrieval.cli.options import Alias, Json, Model, QdrantUrl
from retrieval.cli.queries import example_query
from retrieval.errors import DEFAULT_ALIAS

if TYPE_CHECKING:
    from retrieval.search.explain import Explanation


def explain(
    a: Annotated[str, typer.Argument(metavar="A", help="Image file, id, or SOURCE/PATH of a stored image.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The image to compare it with.")],
    html: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=OUTPUT, help="Write both images and their reconstructions to this file, as a page."
        ),
    ] = None,
    alias: Alias = DEFAULT_ALIAS,
    model: Model = None,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Compare two images: distance, ranks, reconstructions.

    Prints the distance between the two images; the percentage of the collection's images whose nearest neighbour is
    nearer than that; and the rank of each image among the other's nearest neighbours, where 1 is the nearest.

    $ retrieval explain query.png digits/4/00013.png
    $ retrieval explain a.png b.png --html pair.html
    """
    from retrieval.api import Index
    from retrieval.config import load_settings

    with Index.open(alias, model=model, settings=load_settings(qdrant_url=qdrant_url)) as index:
        pair = [example_query(a), example_query(b)]
        found = index.explain(*pair)
        images = [index.read(query) for query in pair]
    if html:
        from retrieval.gallery.review import write_explanation

        write_explanation(html, found, images, format_findings(found))
    if as_json:
        print_json(found.to_json())
        return
    for line in format_findings(found):
        echo(line)
    console = stdout()
    if console.is_terminal:
        from retrieval.cli.render.terminal_images import print_strip
        from retrieval.images.decode import encode_png

        shown = [images[0], encode_png(found.seen[0]), images[1], encode_png(found.seen[1])]
        print_strip(shown, ["a", "a, decoded", "b", "b, decoded"], console)


def format_findings(found: "Explanation") -> list[str]:
    """The findings, in words."""
    from retrieval.search.explain import FARTHEST

    share = "" if found.percentile is None else f", p{found.percentile:.0f}: "
    if found.percentile is not None:
        share += f"{found.percentile:.0f}% of the images here have a nearer nearest neighbour"
    findings = [f"distance {found.distance:.4f}{share}"]
    for who, other, rank in ((0, 1, found.ranks[0]), (1, 0, found.ranks[1])):
        place = f"number {rank:,} of" if rank is not None else "not among"
        findings.append(f"{found.names[other]} is {place} the {FARTHEST:,} nearest to {found.names[who]}")
    return [*findings, *(["the two files are identical"] if found.same_content else [])]
