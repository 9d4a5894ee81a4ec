"""The comparison without Keras: its counts against scikit-learn, its PCA against SVD, and our own row as it runs."""

import doctest
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from retrieval.config import Settings
from retrieval.images.decode import decode, encode_png
from retrieval.schema.image_shape import ImageShape
from retrieval.sources import open_source

SCRIPTS = Path(__file__).parents[2] / "scripts"
DEADLINE = 240
TIES = 2.1e-4
"""One neighbour in 5,000: two that are equally far to float32 may change places."""


@pytest.fixture(autouse=True)
def scripts_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)


def module(name: str) -> Any:
    return importlib.import_module(name)


def digits(split: str, tmp_path: Path, limit: int | None = None) -> tuple[np.ndarray, list[str | None]]:
    """Pictures u8[n, 28, 28, 1] of mnist-sample, and their labels."""
    entries = list(open_source(f"mnist-sample:{split}", Settings(home=tmp_path / "unused")).entries())[:limit]
    pictures = [decode(entry.read(), entry.key, ImageShape(28, 28, 1)).pixels for entry in entries]
    return np.stack(pictures), [entry.label for entry in entries]


def bench_article(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPTS / "bench_article"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def test_rows_are_counted_as_scikit_learn_counts_them(tmp_path: Path) -> None:
    done = bench_article("--data", "mnist-sample", "--rows", "raw,pca32", "--json")
    assert done.returncode == 0, done.stderr
    raw, pca = map(json.loads, done.stdout.splitlines())
    (train, known), (test, asked) = digits("train", tmp_path), digits("test", tmp_path)
    codes, queries = (part.reshape(len(part), -1).astype(np.float32) / 255 for part in (train, test))
    assert (raw["row"], raw["dim"], pca["row"], pca["dim"]) == ("raw", 784, "pca32", 32)
    train_labels, test_labels = np.array(known), np.array(asked)
    found = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(codes).kneighbors(queries)[1]
    assert raw["p5"] == pytest.approx((train_labels[found] == test_labels[:, None]).mean(), abs=TIES)
    found = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(queries).kneighbors()[1]  # without itself
    assert raw["p5_loo"] == pytest.approx((test_labels[found] == test_labels[:, None]).mean(), abs=TIES)
    assert pca["p5"] > raw["p5"]
    assert pca["peak_bytes"] > 0 < pca["images_per_second"]


def test_principal_axes_are_those_of_a_singular_value_decomposition(tmp_path: Path) -> None:
    images, _ = digits("test", tmp_path, 200)
    mean, axes = module("article_rows").principal_axes(images, 8)
    flat = images.reshape(200, -1) / 255
    _, _, rows = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(mean, flat.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(np.abs(np.sum(axes.T * rows[:8], axis=1)), 1, atol=1e-4)


def test_our_row_is_the_command_as_a_user_runs_it(tmp_path: Path) -> None:
    images, _ = digits("train", tmp_path, 64)
    for row, picture in enumerate(images):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        (tmp_path / "pictures" / f"{row:02d}.png").write_bytes(encode_png(picture))
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}.npy", images)
    options = [str(tmp_path / "pictures"), "--dim", "8", "--epochs", "1"]
    command = [sys.executable, str(SCRIPTS / "article_rows.py"), "ours", *options]
    with module("article_worker").Worker("ours", command, tmp_path / "row", dict(os.environ)) as worker:
        assert worker.encode() > 0
        assert 0 < worker.report["train_seconds"] < worker.report["command_seconds"]
        assert worker.report["peak_bytes"] > 50 * 2**20, "JAX alone takes more: this cannot be the command's"
    codes = np.load(tmp_path / "row" / "train.npy")
    assert codes.shape == (64, 8)
    assert np.ptp(codes) > 0
    np.testing.assert_array_equal(codes, np.load(tmp_path / "row" / "test.npy"))


def test_a_row_that_fails_is_named(tmp_path: Path) -> None:
    worker = module("article_worker")
    with pytest.raises(worker.Failed, match=r"\bpca\b.*\b7\b"):
        worker.Worker("pca", [sys.executable, "-c", "raise SystemExit(7)"], tmp_path / "row", dict(os.environ))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rows", "raw,budget"], "so ask for `article` too"),
        (["--rows", "article,hash"], "--rows hash: there are article,raw,pca32,pca,budget,ours"),
        (["--seeds", "0"], "--seeds 0: at least 1"),
    ],
)
def test_what_cannot_be_run_is_a_usage_error(arguments: list[str], complaint: str) -> None:
    done = bench_article(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_the_table_gives_mean_and_spread_and_multiples_of_the_article() -> None:
    quality = module("article_table")
    runs = [
        quality.Run("mnist", "article", 0, 32.0, 40.0, 2**30, 128, 0.8895, 0.8428, 40_000, 1.0),
        quality.Run("mnist", "ours", 0, 64.0, 70.0, 2**29, 64, 0.98, 0.97, 50_000, 1.25),
        quality.Run("mnist", "ours", 1, 64.0, 74.0, 2**30, 64, 0.99, 0.97),
    ]
    table = quality.table(runs, 60_000, 10_000)
    cells = list(zip(*(column.cells for column in table.columns), strict=True))
    assert cells[1] == (
        *("ours", "64", "0.9850 ± 0.0071", "0.9700 ± 0.0000", "64.0 s (2.0×)"),
        *("72.0 s", "50,000 (1.25×)", "1,024 MiB"),
    )
    assert doctest.testmod(quality) == (0, 3)
