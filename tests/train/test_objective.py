"""The terms of the loss, on embeddings small enough to work out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from retrieval.model.autoencoder import build
from retrieval.train.augment import DRAWN
from retrieval.train.objective import covariance_term, loss, variance_term
from retrieval.train.types import Objective
from tests.train.samples import CONFIG, blobs


def test_a_constant_embedding_has_variance_term_one() -> None:
    assert float(variance_term(jnp.full((6, 3), 2.5))) == pytest.approx(
        1 - 0.01, abs=1e-6
    )  # sqrt(1e-4) keeps its gradient


def test_an_embedding_that_varies_enough_has_variance_term_zero() -> None:
    assert float(variance_term(jnp.array([[-1.0, 5.0], [1.0, -5.0]]))) == 0


def test_the_variance_term_is_the_mean_over_dimensions() -> None:
    codes = jnp.array([[-0.5, 3.0, 7.0], [0.5, -3.0, 7.0]])  # standard deviations 0.5, 3 and 0
    assert float(variance_term(codes)) == pytest.approx((0.5 + 0 + 0.99) / 3, abs=1e-3)


def test_uncorrelated_dimensions_have_no_covariance() -> None:
    assert float(covariance_term(jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]))) == 0


def test_equal_dimensions_have_their_variance_as_covariance() -> None:
    codes = jnp.array([[1.0, 1.0], [-1.0, -1.0], [3.0, 3.0]])  # variance 4, divided by n − 1
    assert float(covariance_term(codes)) == pytest.approx((4**2 + 4**2) / 2)


def test_covariance_equals_numpy_and_ignores_the_mean() -> None:
    codes = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    matrix = np.cov(codes, rowvar=False)
    expected = (matrix[~np.eye(5, dtype=bool)] ** 2).sum() / 5
    assert float(covariance_term(jnp.asarray(codes + 7))) == pytest.approx(expected, rel=1e-4)


def test_loss_is_the_sum_of_its_terms() -> None:
    graph, params = build(CONFIG, seed=0)
    images = jnp.asarray(blobs(8) / 255, jnp.float32)
    total, terms = jax.jit(lambda p: loss(graph, p, images, jax.random.key(0)))(params)
    assert set(terms) == {"reconstruction", "invariance", "variance", "covariance"}
    assert float(total) == pytest.approx(sum(map(float, terms.values())), rel=1e-5)
    assert 0.3 < float(terms["reconstruction"]) < 1.5  # ln 2 = 0.69 for an image of nothing but 0.5
    assert 0 <= float(terms["variance"]) <= 2
    assert all(float(term) >= 0 for term in terms.values())


@pytest.mark.parametrize("objective", ["reconstruction", "denoising"])
def test_the_simpler_objectives_only_reconstruct(objective: Objective) -> None:
    graph, params = build(CONFIG, seed=0)
    images = jnp.asarray(blobs(8) / 255, jnp.float32)
    run = jax.jit(lambda key, how: loss(graph, params, images, key, objective, how), static_argnums=1)
    first, second = (run(jax.random.key(key), DRAWN) for key in (0, 1))
    assert set(first[1]) == {"reconstruction"}
    assert (float(first[0]) == float(second[0])) is (objective == "reconstruction")  # only a view depends on the key
