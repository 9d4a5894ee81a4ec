"""Running a model: batches, sizes and weights that have gone wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import UInt8

from retrieval.errors import BadCode, ModelError
from retrieval.model.encoder import BATCH_SIZES, Encoder
from retrieval.model.saved_models import SavedModel
from tests.errors import raises
from tests.train.samples import CONFIG, blobs


def test_a_batch_gives_the_codes_of_its_images_one_at_a_time(encoder: Encoder) -> None:
    images = blobs(BATCH_SIZES[-1] + 3)  # a full batch, then a padded one
    codes = encoder.encode(images)
    assert codes.shape == (len(images), CONFIG.dim)
    assert codes.dtype == np.float32
    for row in (0, 1, len(images) - 4, len(images) - 3, len(images) - 1):
        np.testing.assert_allclose(codes[row], encoder.encode(images[row : row + 1])[0], atol=1e-5)
    assert np.ptp(codes, axis=0).min() > 0.01  # images differ, so do their codes


def test_no_images_give_no_embeddings(encoder: Encoder) -> None:
    assert encoder.encode(blobs(1)[:0]).shape == (0, CONFIG.dim)


def test_reconstructions_are_images(encoder: Encoder, images: UInt8[np.ndarray, "n h w c"]) -> None:
    decoded = encoder.decode(encoder.encode(images[:8]))
    assert decoded.shape == images[:8].shape
    assert decoded.min() >= 0
    assert decoded.max() <= 1


@pytest.mark.parametrize("shape", [(2, 12, 13, 1), (2, 12, 12, 3), (12, 12, 1)])
def test_images_of_another_size_are_refused(encoder: Encoder, shape: tuple[int, ...]) -> None:
    with raises(ModelError, encoder.fingerprint[:8], "12×12×1", hint=""):
        encoder.encode(np.zeros(shape, np.uint8))


def test_embeddings_that_are_not_finite_are_refused(weights: dict[str, np.ndarray]) -> None:
    broken = {**weights, "encoder.dense.bias": np.full(CONFIG.dim, np.nan, np.float32)}
    with raises(BadCode, "bad00000", "finite", hint=""):
        Encoder(SavedModel(CONFIG, broken, "bad00000", {}, Path("not-saved"))).encode(blobs(1))


def test_weights_that_do_not_fit_are_refused(saved: SavedModel) -> None:
    with raises(ModelError, "weights", "config", hint=""):
        Encoder(replace(saved, config=replace(CONFIG, dim=5)))
