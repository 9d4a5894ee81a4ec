"""Whitening: views of an image lie close together, and the decoder inverts the transform."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import UInt8

from retrieval.model.autoencoder import build
from retrieval.model.encoder import Encoder
from retrieval.train import optimiser, whitening
from retrieval.train.augment import DRAWN
from retrieval.train.whitening import MOST_IMAGES, inverse_square_root, whiten, within_covariance
from tests.train.samples import CONFIG, blobs


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(whitening) == (0, 2)
    assert doctest.testmod(optimiser) == (0, 1)


def test_whitened_embeddings_have_equal_variance_within_images() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(5, 5))
    first, second = rng.normal(size=(2, 4000, 5)) @ mixing
    before = within_covariance(first, second)
    turn = inverse_square_root(before)
    after = within_covariance(first @ turn, second @ turn)
    assert np.linalg.cond(after) < 5 < np.linalg.cond(before)


def test_whitening_does_not_change_reconstructions() -> None:
    graph, state = build(CONFIG, seed=3)
    images = blobs(64)
    clean = jnp.asarray(images, jnp.float32) / 255
    before = nnx.merge(graph, state)
    features = before.encoder.features(clean)
    drawn = before.decoder(features - features.mean(axis=0))
    after = nnx.merge(graph, whiten(graph, state, images, 0, DRAWN, 32))
    np.testing.assert_allclose(after.decoder(after.encoder(clean)), drawn, atol=2e-3)
    assert not np.allclose(after.encoder(clean), before.encoder(clean), atol=0.01)


def test_without_views_embeddings_are_only_centred() -> None:
    graph, state = build(CONFIG, seed=3)
    images = blobs(64)
    clean = jnp.asarray(images, jnp.float32) / 255
    after = nnx.merge(graph, whiten(graph, state, images, 0, None, 32))
    np.testing.assert_allclose(after.encoder.features(clean).mean(axis=0), 0, atol=1e-4)
    np.testing.assert_array_equal(after.decoder.turn_back[...], np.eye(CONFIG.dim))


def test_no_more_images_are_used_than_needed() -> None:
    graph, state = build(CONFIG, seed=3)
    few = blobs(96)
    many = np.concatenate([np.resize(few, (MOST_IMAGES, *few.shape[1:])), blobs(40, seed=9)])
    kept = whiten(graph, state, many[:MOST_IMAGES], 0, DRAWN, 512)
    for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(whiten(graph, state, many, 0, DRAWN, 512)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_embeddings_have_length_one(encoder: Encoder, images: UInt8[np.ndarray, "n h w c"]) -> None:
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(images), axis=1), 1, atol=1e-5)
