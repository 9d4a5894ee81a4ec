"""P@5 of a model and its baselines, for scripts/bench_quality: the methods of `retrieval evaluate`, on all images."""

from pathlib import Path

from quality_data import Task
from quality_table import Result

from retrieval.config import load_settings
from retrieval.evaluate.baselines import methods
from retrieval.evaluate.data import SEED, read_evaluation_set
from retrieval.evaluate.job import embed
from retrieval.evaluate.scoring import score_labels
from retrieval.model import saved_models
from retrieval.model.encoder import Encoder, use_compilation_cache
from retrieval.sources import open_source

K = 5


def count(model: Path, task: Task, result: Result, *, baselines: bool) -> None:
    """Count P@5 of a saved model, and of the baselines if asked for, and add them to the result."""
    settings = load_settings()
    use_compilation_cache(settings.xla_cache)
    encoder = Encoder(saved_models.load(model))
    searched, asked = (
        spec and list(open_source(spec, settings, labels=True).entries()) for spec in (task.searched, task.asked)
    )
    assert searched
    data, refused = read_evaluation_set(
        searched, asked or None, encoder.config.drawn_shape, len(searched) + len(asked or ()), lambda done, total: None
    )
    if refused or data.left_out:
        raise SystemExit(f"{task.searched}: {len(refused):,} images refused, {data.left_out:,} left out")
    result.images, result.queries = data.indexed, len(data.queries)
    ours, *others = methods(encoder, data.images[: data.indexed], SEED)
    for method in (ours, *others) if baselines else (ours,):
        codes, _ = embed(method, data, lambda what, done, total: None)
        precision = float(score_labels(codes, data, K, lambda done: None).precision.mean())
        result.add("ours" if method is ours else method.name, codes.shape[1], precision)
