"""`retrieval train`."""

from typing import Annotated

import typer

from retrieval.cli.common import Json, open_sources, print_json, print_refused, progress_bar, stdout


def train(
    source: Annotated[list[str], typer.Argument(help="Folders, archives or data sets of unlabelled images.")],
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Times each image is seen; by default enough for about 120,000 in all."),
    ] = None,
    dim: Annotated[int, typer.Option(min=2, max=4096, help="Numbers in a code.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and images give the same model.")] = 0,
    as_json: Json = False,
) -> None:
    """Train a model on unlabelled images and make it the default; goes on where an interrupted run stopped."""
    from retrieval.config import load_settings
    from retrieval.learn import learn

    settings = load_settings()
    with progress_bar("loss", "rate") as bar:
        reading = bar.add_task("Reading", total=None, loss="", rate="")
        training = bar.add_task("Training", total=None, start=False, visible=False, loss="", rate="")

        def on_progress(p) -> None:  # type: ignore[no-untyped-def]
            bar.start_task(training)
            rate, loss = f"{p.images_per_second:,.0f} images/s", f"loss {p.loss:.4f}"
            bar.update(training, visible=True, total=p.steps, completed=p.step, loss=loss, rate=rate)

        model, refused = learn(
            open_sources(source, settings),
            settings,
            dim=dim,
            epochs=epochs,
            seed=seed,
            reading=lambda done, total: bar.update(reading, completed=done, total=total),
            training=on_progress,
        )
    if as_json:
        print_json({"model": str(model.path), **model.metrics})
    else:
        m = model.metrics
        stdout().print(
            f"Model {model.fingerprint[:8]}: {m['images']:,} images, {m['epochs']} epochs, {m['seconds']} s,"
            f" loss {m['loss']:.4f}\n{model.path}\nNext: retrieval ingest {source[0]}",
            soft_wrap=True,
        )
    print_refused(refused)
    if refused:
        raise typer.Exit(3)
