"""The baselines: PCA against scikit-learn's, the untrained encoder, and copies that can be made again."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.fft import dctn
from sklearn.decomposition import PCA

from retrieval.evaluate import baselines
from retrieval.model import trunk
from retrieval.model.config import TRUNK, ModelConfig
from retrieval.train import augment
from retrieval.train.augment import distorted_copies
from tests.train.samples import blobs

pytestmark = pytest.mark.usefixtures("xla_cache")


def correlated(n: int = 400, seed: int = 0) -> np.ndarray:
    """Images whose neighbouring pixels are correlated."""
    return blobs(n, side=12, seed=seed)


def test_pca_keeps_the_variance_and_the_distances_that_scikit_learns_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "BLOCK", 50 * 144)
    images, others = correlated(), correlated(60, seed=1)
    flat, queries = images.reshape(400, -1).astype(float), others.reshape(60, -1).astype(float)
    theirs = PCA(8, svd_solver="full").fit(flat)
    ours = baselines.fit_pca(images, 8, seed=0)
    assert ours(images).dtype == np.float32
    np.testing.assert_allclose(ours(images).var(axis=0, ddof=1), theirs.explained_variance_, rtol=1e-3)
    found, expected = ours(others), theirs.transform(queries)
    np.testing.assert_allclose(
        np.linalg.norm(found[:, None] - found, axis=2),
        np.linalg.norm(expected[:, None] - expected, axis=2),
        rtol=0.02,
        atol=1,
    )


def test_pca_of_fewer_images_or_pixels_than_dimensions() -> None:
    images = correlated(3)
    codes = baselines.fit_pca(images, 200, seed=0)(images)
    assert codes.shape == (3, 144)
    flat = images.reshape(3, -1).astype(float)
    assert np.linalg.norm(codes[0] - codes[1]) == pytest.approx(np.linalg.norm(flat[0] - flat[1]), rel=1e-3)


def test_pca_of_identical_images() -> None:
    images = np.full((5, 8, 8, 1), 7, np.uint8)
    np.testing.assert_allclose(baselines.fit_pca(images, 4, seed=0)(images), 0, atol=1e-3)


def test_the_untrained_encoder_is_the_models_size_and_the_same_each_time() -> None:
    config = ModelConfig((12, 12), 1, 4, (8, 8), (0, 0))
    images = correlated(20)
    codes = baselines.untrained_encoder(config, 0).encode(images)
    assert codes.shape == (20, 4)
    np.testing.assert_array_equal(codes, baselines.untrained_encoder(config, 0).encode(images))
    assert np.abs(codes - baselines.untrained_encoder(config, 1).encode(images)).max() > 1e-3


def test_distorted_copies_differ_from_their_originals_and_can_be_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "BATCH", 16)
    images = np.concatenate([correlated(20), correlated(20)])
    made = distorted_copies(images, seed=0)
    assert made.shape == images.shape
    assert made.dtype == np.uint8
    changed = np.abs(made.astype(int) - images).max(axis=(1, 2, 3))
    assert (changed > 3).all()
    assert (made[:20] != made[20:]).any(axis=(1, 2, 3)).all()  # the same image, another view
    np.testing.assert_array_equal(made, distorted_copies(images, seed=0))
    assert (made != distorted_copies(images, seed=1)).any()


def test_a_colour_histogram_counts_each_colour() -> None:
    images = np.zeros((2, 2, 2, 3), np.uint8)
    images[0, 0, 0] = 255, 40, 0  # the eighth red, the second green, the first blue
    found = baselines.colour_histogram(images)
    assert found.shape == (2, 512)
    expected = np.zeros((2, 512), np.float32)
    expected[0, [0, 7 * 64 + 8]] = np.sqrt([0.75, 0.25])
    expected[1, 0] = 1
    np.testing.assert_allclose(found, expected)
    assert baselines.colour_histogram(images[:0]).shape == (0, 512)


def test_the_frozen_trunk_is_the_mean_of_its_last_map() -> None:
    config = ModelConfig((32, 32), 3, 4, (), (), TRUNK, "crop")
    images = blobs(3, 32, 3)
    expected = np.asarray(nnx.jit(trunk.Trunk.embed)(trunk.load(), jnp.asarray(images)))
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(baselines.frozen_trunk(config, 0).encode(images), expected, atol=1e-3)
    (method,) = [m for m in baselines.methods(baselines.untrained_encoder(config, 0), images, 0) if "trunk" in m.name]
    assert method.codes(images).shape == (3, 1280)
    assert method.shape == config.shape


def test_a_perceptual_hash_is_the_sign_of_low_frequencies_about_their_median() -> None:
    images = blobs(5, 24, 3)
    found = baselines.perceptual_hash(images)
    grey = images @ np.array([0.299, 0.587, 0.114])
    low = dctn(grey, axes=(1, 2))[:, :8, :8].reshape(5, 64)
    np.testing.assert_array_equal(found, low > np.median(low[:, 1:], axis=1, keepdims=True))
    brighter = np.minimum(images.astype(int) + 9, 255).astype(np.uint8)
    assert (baselines.perceptual_hash(brighter) != found).mean() < 0.05
    assert baselines.perceptual_hash(correlated(3)).shape == (3, 64)
    assert baselines.perceptual_hash(images[:0]).shape == (0, 64)


def test_the_baselines_of_a_model_of_pixels() -> None:
    grey = correlated(6)
    model = baselines.untrained_encoder(ModelConfig((12, 12), 1, 4, (8, 8), (0, 0)), 0)
    found = {method.name: method for method in baselines.methods(model, grey, 0)}
    assert list(found)[1:] == ["raw pixels", "PCA", "perceptual hash", "frozen trunk", "untrained"]
    trunk = found["frozen trunk"]
    assert trunk.shape is not None
    assert trunk.shape.array == (32, 32, 3)
    assert trunk.codes(np.zeros((2, *trunk.shape.array), np.uint8)).shape == (2, 1280)
    colour = baselines.untrained_encoder(ModelConfig((12, 12), 3, 4, (8, 8), (0, 0)), 0)
    names = [method.name for method in baselines.methods(colour, blobs(6, 12, 3), 0)]
    assert "colour histogram" in names
    names = [method.name for method in baselines.methods(colour, np.repeat(grey, 3, axis=3), 0)]
    assert "colour histogram" not in names, "the images have no colour"
