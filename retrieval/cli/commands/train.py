"""`retrieval train`."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.cli.commands.train_child import parse_hosts, train_in_a_child
from retrieval.cli.console import (
    count_task,
    exit_if_refused,
    print_json,
    print_warnings,
    progress_bar,
    stdout,
    training_task,
)
from retrieval.cli.help import HOSTS, MODEL, OUTPUT, TRAINING
from retrieval.cli.options import SOURCES, Json, open_sources
from retrieval.cli.parse import parse_seconds, parse_size
from retrieval.errors import DEFAULT_ALIAS
from retrieval.train.types import Objective, Preset, TrunkChoice
from retrieval.util.wording import count_of

if TYPE_CHECKING:
    from retrieval.config import Settings
    from retrieval.model.saved_models import SavedModel
    from retrieval.schema.verdict import Verdict
    from retrieval.sources import Source
    from retrieval.sources.read import Refused
    from retrieval.train.options import TrainOptions
    from retrieval.train.types import Hosts


def train(
    source: Annotated[list[str], typer.Argument(metavar="SOURCE", help=f"Images to learn from: {SOURCES}.")],
    objective: Annotated[
        Objective,
        typer.Option(
            rich_help_panel=TRAINING,
            help="What to learn. reconstruction: reproduce each image; denoising: reproduce it from a distorted "
            "view; invariant: that, and give two distorted views the same embedding.",
        ),
    ] = "invariant",
    dim: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=4096,
            rich_help_panel=MODEL,
            show_default="64 for drawings and grey images, 128 otherwise; fewer if there are under 500 photographs",
            help="Number of dimensions of an embedding.",
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|HxW",
            rich_help_panel=MODEL,
            show_default="160x160 for photographs; for drawings their own size, or 64x64 if that is larger or varies",
            help="Scale all images to this size, in pixels; --trunk auto then means none.",
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            metavar="1|3",
            rich_help_panel=MODEL,
            show_default="1 when all images are grey and there is no trunk, 3 otherwise",
            help="Colour channels that the model sees: 1 for grey, 3 for colour.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=TRAINING,
            show_default="depends on the preset and the number of images",
            help="Number of passes over the images.",
        ),
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            rich_help_panel=TRAINING,
            help="Maximum training time, like 90s, 5m or 1h; with --epochs too, training ends at whichever comes "
            "first.",
        ),
    ] = None,
    preset: Annotated[
        Preset | None,
        typer.Option(
            rich_help_panel=MODEL,
            show_default="small",
            help="How large the network is and how long it trains.",
        ),
    ] = None,
    trunk: Annotated[
        TrunkChoice,
        typer.Option(
            rich_help_panel=MODEL,
            help="What the model builds on: a network in this package trained on a million photographs (photos),"
            " or the pixels alone (none). auto looks at 200 images and takes none for drawings, scans and handwriting,"
            " or if another option needs it, and photos otherwise.",
        ),
    ] = "auto",
    seed: Annotated[
        int,
        typer.Option(
            min=0, rich_help_panel=TRAINING, help="Random seed; the same seed and images give the same model."
        ),
    ] = 0,
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            rich_help_panel=OUTPUT,
            help="Do not train; draw some images and their distorted views, and write them to this file.",
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=OUTPUT,
            help="Write the training's metrics to this folder, as TensorBoard event files.",
        ),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            rich_help_panel=HOSTS,
            help="Host of process 0 and a free port on it; give all processes the same.",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=HOSTS, help="Number of processes that train together."),
    ] = None,
    process: Annotated[
        int | None,
        typer.Option(
            metavar="I", rich_help_panel=HOSTS, help="Index of this process, from 0; process 0 saves the model."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a model on unlabelled images.

    Looks at the images to choose the network, the distortions and the training length, saves the model, and makes it
    the default model. If training is interrupted, run the same command again to resume it.

    If the images are in folders, train then says whether the model finds images of the same folder better than raw
    pixels and other baselines do. Folder names are not used for learning.

    $ retrieval train digits
    $ retrieval train scans --dim 256 --time-budget 30m
    """
    hosts = parse_hosts(coordinator, processes, process)
    size = parse_size("image_size", image_size)
    budget = parse_seconds("time_budget", time_budget)

    from retrieval.config import load_settings
    from retrieval.train.options import TrainOptions

    settings = load_settings()
    options = TrainOptions(
        objective=objective,
        preset=preset,
        dim=dim,
        image_size=size,
        channels=channels,
        epochs=epochs,
        budget=budget,
        seed=seed,
        hosts=hosts,
        trunk=trunk,
    )
    if hosts and not preview:
        train_in_a_child(hosts)
    sources = open_sources(source, settings)
    if preview:
        refused = draw_preview(preview, sources, options, as_json=as_json)
    else:
        model, refused = train_with_progress(sources, settings, options, tensorboard)
        verdict = None if hosts else check_model(model, sources, settings)
        print_model(model, source[0], hosts, settings, verdict, as_json=as_json)
    exit_if_refused(refused)


def draw_preview(file: Path, sources: Sequence["Source"], options: "TrainOptions", *, as_json: bool) -> list["Refused"]:
    """Draw distorted views instead of training."""
    from retrieval.train.preview import preview

    with progress_bar() as bar:
        refused, warnings = preview(file, sources, options, count_task(bar, "Reading"))
    if as_json:
        print_json({"preview": str(file), "warnings": warnings})
    else:
        stdout().print(str(file), soft_wrap=True)
    print_warnings(warnings)
    return refused


def train_with_progress(
    sources: Sequence["Source"], settings: "Settings", options: "TrainOptions", tensorboard: Path | None
) -> tuple["SavedModel", list["Refused"]]:
    """Train, with a progress bar."""
    from retrieval.train import job
    from retrieval.train.tensorboard import event_files

    first = not options.hosts or options.hosts.process == 0
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(event_files(tensorboard)) if tensorboard and first else lambda line: None
        bar = stack.enter_context(progress_bar())
        return job.train_and_save(
            sources,
            settings,
            options,
            reading=count_task(bar, "Reading"),
            training=training_task(bar),
            log=log,
        )


def check_model(model: "SavedModel", sources: Sequence["Source"], settings: "Settings") -> "Verdict | None":
    """The verdict on a sample of the images, by folder names; None if they tell nothing."""
    from retrieval.evaluate.trial import try_out
    from retrieval.model.resolve import make_encoder

    return try_out(make_encoder(settings, model), sources)


def print_model(
    model: "SavedModel",
    source: str,
    hosts: "Hosts | None",
    settings: "Settings",
    verdict: "Verdict | None",
    *,
    as_json: bool,
) -> None:
    """Print the new model, the verdict and warnings; with several processes only process 0 has saved it."""
    from retrieval.evaluate.report import advise

    m = model.metrics
    saved = not hosts or hosts.process == 0
    if as_json:
        said = {} if hosts else {"verdict": verdict and str(verdict), "helped": verdict and verdict.helped}
        print_json({"model": str(model.path), **m, **said} if saved else m)
    else:
        early = ", stopped early" if m["stopped_early"] else ""
        stdout().print(
            f"{f'Model {model.fingerprint[:8]}' if saved else f'Trained as {hosts}'}:"
            f" {count_of(m['images'], 'image')} read in {m['reading_seconds']} s,"
            f" {count_of(m['epochs'], 'epoch')} in {m['seconds']:.1f} s{early}, loss {m['loss']:.4f}\n"
            + describe_choice(m)
            + (
                f"{describe_verdict(verdict, source)}\n{model.path}\nNext: {next_command(model, source, settings)}"
                if saved
                else "Process 0 saves the model."
            ),
            soft_wrap=True,
        )
    print_warnings(m["warnings"])
    if verdict and verdict.helped is False:
        print_warnings([f"{verdict}; {advise(verdict, on_trunk=model.config.trunk is not None)}"])


def describe_verdict(verdict: "Verdict | None", source: str) -> str:
    """Whether the model is any good; without a verdict, the command that says so."""
    if verdict is None:
        return f"To see whether it is any good: retrieval evaluate {source}"
    return f"{verdict.queries:,} of the images, with folder names as labels: {verdict}"


def describe_choice(metrics: "Mapping[str, Any]") -> str:
    """A line that says what the model sees, and why, if the images decided that."""
    share = metrics.get("drawn_share")
    if share is None:
        return ""
    if "trunk" in metrics:
        return (
            f"Photographs ({share:.0%} drawings): the model builds on a network that was trained on a million others.\n"
        )
    return f"Drawings ({share:.0%} of the images): the model learns from their pixels alone.\n"


def next_command(model: "SavedModel", source: str, settings: "Settings") -> str:
    """The command to run next: reindex if there is a collection, because ingest keeps using the collection's model."""
    from retrieval.errors import RetrievalError
    from retrieval.store import open_store

    ingest, reindex = f"retrieval ingest {source}", "retrieval reindex"
    if settings.qdrant_url is None and not settings.embedded.exists():
        return ingest
    try:
        with open_store(settings, fail_fast=True) as store:
            aliases = store.aliases()
            made_by = store.metadata(aliases[DEFAULT_ALIAS]).model if DEFAULT_ALIAS in aliases else model.fingerprint
    except RetrievalError:  # in use, or not reachable: the training succeeded all the same
        return f"{ingest}, or where there is a collection already: {reindex}"
    if made_by != model.fingerprint:
        return f"{reindex}   ({DEFAULT_ALIAS} holds embeddings of model {made_by[:8]}, which ingest keeps using)"
    others = sorted(aliases.keys() - {DEFAULT_ALIAS})
    return f"{ingest}, or for {', '.join(others)}: {reindex} --alias ALIAS" if others else ingest
