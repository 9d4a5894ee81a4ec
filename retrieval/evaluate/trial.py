"""A quick verdict on a model that was just trained: how often its images find others of their own folder.

Folder names are labels that nobody has to give. They are used for this count only, never for training.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from retrieval.evaluate.baselines import UNTRAINED, Codes, Method, methods
from retrieval.evaluate.brute_force import nearest
from retrieval.evaluate.data import SEED, number_names, read_again
from retrieval.evaluate.report import judge
from retrieval.model.encoder import Encoder
from retrieval.schema.records import utc_now
from retrieval.schema.verdict import Verdict
from retrieval.sources import Entry, Source
from retrieval.sources.arrays import ImageArray, choose_rows, read_image_array
from retrieval.sources.base import folder_label

IMAGES = 1000
"""Maximum number of images, a random sample: enough to show a difference of about 0.03 in P@5."""
K = 5


def try_out(encoder: Encoder, sources: Sequence[Source]) -> Verdict | None:
    """Compare a model with the baselines on a sample of the images, by the names of their folders.

    None if the images are in one folder, each is in its own, or there are too few. A model of pixels is not compared
    with the trunk, which would take longer than the rest.
    """
    entries = [replace(entry, label=entry.label or folder_label(entry.key)) for entry in every(sources)]
    labelled = [entry for entry in entries if entry.label is not None]
    if len({entry.label for entry in labelled}) in (0, 1, len(labelled)):
        return None
    config = encoder.config
    sample = read_image_array([labelled[i] for i in choose_rows(len(labelled), IMAGES)], config.drawn_shape)
    first = np.sort(np.unique(sample.contents, return_index=True)[1])  # one of each content
    labels = number_names([sample.entries[row].label for row in first])
    if len(first) <= K or not 1 < len(np.unique(labels)) < len(labels):
        return None
    model, *others = methods(encoder, sample.images, SEED)
    baselines = [method for method in others if method.name != UNTRAINED and (method.shape is None or config.trunk)]
    found = [(method.name, precision(embed(method, sample)[first], labels)) for method in (model, *baselines)]
    return judge(f"P@{K}", found[0][1], dict(found[1:]), utc_now())


def every(sources: Sequence[Source]) -> Iterable[Entry]:
    """The entries of all sources."""
    return (entry for source in sources for entry in source.entries())


def embed(method: Method, sample: ImageArray) -> Codes:
    """A method's embeddings of the sample."""
    if method.shape is None:
        return method.codes(sample.images)
    return np.concatenate([method.codes(block) for _, block in read_again(sample.entries, method.shape)])


def precision(codes: Codes, labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """P@K of each image among the others."""
    rows, _ = nearest(codes, codes, K + 1)
    itself = rows == np.arange(len(rows))[:, None]
    hits = np.take_along_axis(rows, np.argsort(itself, axis=1, kind="stable"), axis=1)[:, :K]
    right: np.ndarray = (labels[hits] == labels[:, None]).mean(axis=1)
    return right
