"""The head of a model on the trunk, on made-up features: what its weights compute, and what it learns."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Float32

from retrieval.train import head
from retrieval.train.checkpoints import LogEntry
from retrieval.train.closed_form import fit_projection
from retrieval.train.head import EMPHASIS, TrainedHead, find_neighbours, train_head
from retrieval.train.loop import RunClock

Features = tuple[Float32[np.ndarray, "n p"], Float32[np.ndarray, "v n p"]]
DIM = 4


@pytest.fixture(scope="module")
def features() -> Features:
    """Ten kinds of things in twelve numbers that tell them apart, beside twelve in which views differ."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(10, 12)).repeat(20, axis=0) + 0.3 * rng.normal(size=(200, 12))
    clean = np.concatenate([kinds, rng.normal(size=(200, 12))], axis=1)
    change = np.concatenate([0.3 * rng.normal(size=(2, 200, 12)), 1.5 * rng.normal(size=(2, 200, 12))], axis=2)
    return clean.astype(np.float32), (clean + change).astype(np.float32)


def learn(features: Features, steps: int, log: Callable[[LogEntry], None] = lambda line: None) -> TrainedHead:
    done: list[float] = []
    found = train_head(*features, DIM, 1.0, 0, RunClock(steps, None), lambda share, *_: done.append(share), log)
    assert len(done) == steps
    assert done[-1] == 1
    return found


def cosine(a: Float32[np.ndarray, "n d"], b: Float32[np.ndarray, "n d"]) -> float:
    """The mean cosine of the rows."""
    return float(((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean())


def project(weights: head.Weights, features: Float32[np.ndarray, "n p"]) -> np.ndarray:
    hidden = jax.nn.gelu(jnp.asarray(features @ weights["hidden.kernel"] + weights["hidden.bias"]))
    return np.asarray(features @ weights["dense.kernel"] + weights["dense.bias"] + hidden @ weights["added.kernel"])


def test_the_weights_compute_the_embeddings(features: Features) -> None:
    found = learn(features, 3)
    np.testing.assert_allclose(project(found.weights, features[0]), found.features, atol=1e-4)
    np.testing.assert_allclose(found.features.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found.features.std(axis=0), found.codes.std(axis=0) ** (1 + EMPHASIS), rtol=1e-3)


def test_views_come_nearer_to_each_other_than_in_the_closed_form(features: Features) -> None:
    clean, views = features
    kernel, bias = fit_projection(clean, views, DIM, 1.0)
    before = cosine(views[0] @ kernel + bias, views[1] @ kernel + bias)
    weights = learn(features, 150).weights
    after = cosine(project(weights, views[0]), project(weights, views[1]))
    assert 1 - after < (1 - before) * 0.6


def test_the_log_tells_the_terms(features: Features) -> None:
    lines: list[LogEntry] = []
    found = learn(features, 70, lines.append)
    assert lines == found.history
    assert [line["step"] for line in lines] == [50, 70]
    assert set(lines[0]) == {"step", "seconds", "loss", "reconstruction", "invariance", "variance", "covariance"}
    assert lines[1]["reconstruction"] < lines[0]["reconstruction"]


def test_the_same_seed_gives_the_same_weights(features: Features) -> None:
    first, second = learn(features, 3).weights, learn(features, 3).weights
    assert all((first[name] == second[name]).all() for name in first)


def test_few_images_have_no_neighbours(features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(head, "find_neighbours", fail)
    clean, views = features
    learn((clean[:35], views[:, :35]), 2)


def test_neighbours_are_the_nearest_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "BLOCK", 7)
    codes = np.random.default_rng(0).normal(size=(30, 3))
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    apart = np.linalg.norm(unit[:, None] - unit, axis=2)
    np.fill_diagonal(apart, np.inf)
    assert [set(row) for row in find_neighbours(codes, 4)] == [set(row[:4]) for row in apart.argsort(axis=1)]
