"""`retrieval demo`."""

from retrieval.cli.console import print_json, progress_bar, stderr, stdout, training_task
from retrieval.cli.options import Json

SHOWN = 4
"""Number of queries shown in the terminal."""
GALLERY = 12
"""Number of queries in the galleries."""


def demo(as_json: Json = False) -> None:
    """Train, ingest and search on real digits; no server needed.

    Trains on 4,000 of the handwritten digits that come with the package, stores them, and searches with the other
    1,000. Writes some of the results to demo/gallery.html (a page) and demo/gallery.png (an image) in RETRIEVAL_HOME,
    and prints both paths.

    $ retrieval demo
    $ retrieval demo --json
    """
    from retrieval import demo as job
    from retrieval.cli.render.results import print_images, print_results, write_galleries
    from retrieval.config import load_settings
    from retrieval.gallery.results import result_rows
    from retrieval.sources.open import open_known
    from retrieval.store import open_store

    settings = load_settings().model_copy(update={"qdrant_url": None})
    html, png = settings.home / "demo" / "gallery.html", settings.home / "demo" / "gallery.png"
    html.parent.mkdir(parents=True, exist_ok=True)
    with open_store(settings) as store, progress_bar() as bar:
        outcome = job.run_demo(store, settings, training_task(bar), lambda text: stderr().print(f"{text} …"))
    every = max(1, len(outcome.results) // GALLERY)
    chosen = outcome.results[::every][:GALLERY]
    rows = result_rows(chosen, open_known(outcome.meta.sources, settings))
    write_galleries(rows, html=html, png=png, title="Digits the model was not trained on")
    if as_json:
        print_json({**outcome.to_json(), "html": str(html), "png": str(png)})
        return
    console = stdout()
    for result, row in zip(chosen[:SHOWN], rows, strict=False):
        print_results([result], console)
        print_images([row], console)
    console.print(
        f"P@5 of {len(outcome.results):,} queries: {outcome.precision:.4f} by embeddings of {outcome.meta.dim}"
        f" dimensions, {outcome.pixels_precision:.4f} by raw pixels\n"
        f"(share of the five nearest images that show the query's digit; labels are used for this count only)\n\n"
        f"Look:  {html}\n       {png}\n"
        f"Next:  retrieval search mnist-sample:test --limit 3 --alias {outcome.summary.alias}\n"
        "       retrieval train FOLDER && retrieval ingest FOLDER && retrieval search IMAGE",
        soft_wrap=True,
    )
