"""The rows of scripts/bench_article: their figures, their precision, and the table."""

import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

ROWS = {
    "article": "the article's, in Keras",
    "raw": "raw pixels",
    "pca32": "PCA",
    "pca": "PCA",
    "budget": "ours, in the article's time",
    "ours": "ours",
}
K = 5
ROUNDS = 5
"""Encodings of all training images per row, taken in turn; the median counts."""


@dataclass
class Run:
    """One row with one seed. peak_bytes: of the training process, less the images; p5, p5_loo: in [0,1]."""

    data: str
    row: str
    seed: int
    train_seconds: float | None
    command_seconds: float | None
    peak_bytes: int | None
    dim: int = 0
    p5: float = 0.0
    p5_loo: float = 0.0
    images_per_second: float | None = None
    encode_ratio: float | None = None


def count(run: Run, folder: Path) -> None:
    """Fill in P@5: every test image searches the training images, and (LOO) the other test images."""
    from retrieval.evaluate.brute_force import nearest
    from retrieval.evaluate.metrics import precision_at_k

    labels = {split: np.load(folder / f"{split}-labels.npy") for split in ("train", "test")}
    codes = {split: np.load(folder / f"{run.row}-{run.seed}" / f"{split}.npy") for split in labels}
    run.dim = codes["train"].shape[1]
    queries = labels["test"].tolist()
    rows, _ = nearest(codes["test"], codes["train"], K)
    run.p5 = precision_at_k(queries, labels["train"][rows].tolist(), K)
    rows = others(nearest(codes["test"], codes["test"], K + 1)[0])
    run.p5_loo = precision_at_k(queries, labels["test"][rows].tolist(), K)


def others(rows: np.ndarray) -> np.ndarray:
    """Neighbours i64[n, k] without the query itself, i64[n, k-1]; if it has copies, it may be missing.

    >>> others(np.array([[0, 2], [2, 1], [0, 1]])).tolist()
    [[2], [2], [0]]
    """
    itself = rows == np.arange(len(rows))[:, None]
    last = np.argsort(itself, axis=1, kind="stable")
    return np.take_along_axis(rows, last, axis=1)[:, :-1]


def table(runs: list[Run], train: int, test: int) -> Table:
    """All rows, their seeds' mean ± standard deviation, with their times as multiples of the article's."""
    article = next((run.train_seconds for run in runs if run.row == "article"), None)
    caption = (
        f"P@5 {train // 1000}k: {test:,} test images search {train:,}; LOO: each test image searches the others."
        " Training: by its own clock; command: all of the process until it has trained. Images/s: batches of 512"
        f" (PCA: all at once), median of {ROUNDS} rounds taken in turn. Memory: the training process's peak,"
        " less the images. ×: the article's = 1. ±: standard deviation over seeds."
    )
    drawn = Table("codes", caption=caption)
    for heading in ("dims", f"P@5 {train // 1000}k", "P@5 LOO", "training", "command", "images/s", "memory"):
        drawn.add_column(heading, justify="right")
    for row in dict.fromkeys(run.row for run in runs):
        same = [run for run in runs if run.row == row]
        one = same[0]
        speed = one.images_per_second and f"{one.images_per_second:,.0f}"
        drawn.add_row(
            ROWS[row],
            str(one.dim),
            mean_and_deviation([run.p5 for run in same]),
            mean_and_deviation([run.p5_loo for run in same]),
            format_times([run.train_seconds for run in same], article),
            format_times([run.command_seconds for run in same], None),
            f"{speed} ({one.encode_ratio:.2f}×)" if one.encode_ratio else speed or "–",
            f"{max(run.peak_bytes or 0 for run in same) / 2**20:,.0f} MiB" if one.peak_bytes else "–",
        )
    return drawn


def mean_and_deviation(values: list[float]) -> str:
    """
    >>> mean_and_deviation([0.9851]), mean_and_deviation([0.98, 0.99])
    ('0.9851', '0.9850 ± 0.0071')
    """
    mean = f"{statistics.mean(values):.4f}"
    return f"{mean} ± {statistics.stdev(values):.4f}" if len(values) > 1 else mean


def format_times(seconds: list[float | None], reference: float | None) -> str:
    """
    >>> format_times([64.0], 32.0), format_times([64.0], None), format_times([None], 32.0)
    ('64.0 s (2.0×)', '64.0 s', '–')
    """
    known = [value for value in seconds if value is not None]
    if not known:
        return "–"
    mean = statistics.mean(known)
    return f"{mean:,.1f} s ({mean / reference:.1f}×)" if reference else f"{mean:,.1f} s"
