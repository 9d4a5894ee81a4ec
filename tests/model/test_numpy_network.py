"""The network in NumPy and the one in JAX, each by the other; and when which of them encodes."""

import contextlib
import dataclasses
import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from retrieval.errors import BadCode, ModelError, RetrievalError
from retrieval.model import lazy_encoder
from retrieval.model.autoencoder import TRUNK_PATH, abstract_state
from retrieval.model.config import TRUNK, ModelConfig
from retrieval.model.encoder import Encoder
from retrieval.model.encoder_process import EncoderProcess
from retrieval.model.lazy_encoder import FEW, LazyEncoder
from retrieval.model.numpy_network import NumpyNetwork
from retrieval.model.saved_models import SavedModel
from retrieval.train.recipe import PRESETS, default_network
from tests.errors import raises
from tests.train.samples import CONFIG, blobs


def random_weights(config: ModelConfig) -> dict[str, np.ndarray]:
    """Weights, normalisations too, that keep the numbers about as large from layer to layer."""
    rng = np.random.default_rng(0)
    weights = {}
    for path, leaf in nnx.to_flat_state(abstract_state(config)[1]):
        if path[:2] == TRUNK_PATH:
            continue
        deviation = (2 / np.prod(leaf.shape[:-1])) ** 0.5 if len(leaf.shape) > 1 else 0.1
        centre = 1.0 if path[-1] in ("scale", "var") else 0.0
        weights[".".join(map(str, path))] = rng.normal(centre, deviation, leaf.shape).astype(np.float32)
    return weights


def model_of(config: ModelConfig, weights: dict[str, np.ndarray]) -> SavedModel:
    return SavedModel(config, weights, "bad00000", {}, Path("not-saved"))


NETWORKS = {
    "digits": default_network((28, 28), 1, 8, PRESETS["small"]),
    "smallest": default_network((8, 8), 1, 5, PRESETS["tiny"]),
    "odd sides": default_network((9, 13), 3, 5, PRESETS["tiny"]),
    "residual blocks": default_network((33, 47), 1, 5, PRESETS["tiny"]._replace(blocks=2)),
    "stem 4": default_network((64, 64), 3, 8, PRESETS["base"]),
    "stem 4, odd sides": default_network((35, 49), 3, 5, PRESETS["tiny"]),
    "trunk": ModelConfig((96, 64), 3, 8, (), (), TRUNK, "crop"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_numpy_and_jax_agree(name: str) -> None:
    config = NETWORKS[name]
    assert config.stem == (4 if name.startswith("stem 4") else 2)
    model = model_of(config, random_weights(config))
    jax, numpy = Encoder(model), NumpyNetwork(config, model.weights)
    images = np.random.default_rng(1).integers(0, 256, (3, *config.shape.array)).astype(np.uint8)
    images[1:] //= np.array([2, 8], np.uint8)[:, None, None, None]
    codes = numpy.encode(images)
    assert codes.dtype == np.float32
    assert np.ptp(codes, axis=0).max() > 0.01  # images differ, so do their codes
    np.testing.assert_allclose(codes, jax.encode(images), atol=1e-5)
    drawn = numpy.decode(codes)
    assert np.ptp(drawn, axis=0).max() > 0.01
    np.testing.assert_allclose(drawn, jax.decode(codes), atol=1e-5)


def test_every_field_of_the_config_is_one_that_numpy_knows() -> None:
    assert {field.name for field in dataclasses.fields(ModelConfig)} == {
        *("image_size", "channels", "dim", "widths", "blocks", "trunk", "stem"),
        "fit",  # does not concern the network
    }, "teach retrieval/model/numpy_network.py the new one, or let it refuse models that have it"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda weights: weights.pop("encoder.dense.bias"),
        lambda weights: weights.update({"encoder.wings": np.zeros(3, np.float32)}),
        lambda weights: weights.update({"encoder.dense.bias": np.zeros(9, np.float32)}),
        lambda weights: weights.update({"decoder.conv2.bias": np.zeros(4, np.float16)}),
    ],
    ids=["missing", "unknown", "another shape", "half precision"],
)
def test_weights_that_numpy_does_not_know_are_left_to_jax(
    spoil: Callable[[dict[str, np.ndarray]], object], tmp_path: Path
) -> None:
    weights = random_weights(CONFIG)
    expected = Encoder(model_of(CONFIG, weights)).encode(blobs(2))
    spoil(weights)
    with pytest.raises(LookupError):
        NumpyNetwork(CONFIG, weights)
    if any(weight.dtype == np.float16 for weight in weights.values()):
        np.testing.assert_allclose(LazyEncoder(model_of(CONFIG, weights), tmp_path).encode(blobs(2)), expected)
    else:
        with raises(ModelError, "do not fit the config", hint="train again"):
            LazyEncoder(model_of(CONFIG, weights), tmp_path)


def test_jax_is_loaded_when_more_than_a_few_images_have_been_encoded(
    xla_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(CONFIG, random_weights(CONFIG))
    images = blobs(FEW + 1)
    expected = Encoder(model).encode(images)
    monkeypatch.setattr(lazy_encoder, "FEW", 3)
    encoder = LazyEncoder(model, xla_cache)
    assert encoder.encode(images[:0]).shape == (0, CONFIG.dim)
    for number in (2, 1):
        np.testing.assert_allclose(encoder.encode(images[:number]), expected[:number], atol=1e-5)
        assert not encoder.uses_jax
    np.testing.assert_allclose(encoder.encode(images[:1]), expected[:1], atol=1e-5)
    assert encoder.uses_jax
    encoder = LazyEncoder(model, xla_cache)
    np.testing.assert_array_equal(encoder.encode(images), expected)
    assert encoder.uses_jax


def test_while_jax_is_being_loaded_a_few_images_need_not_wait(xla_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(CONFIG, random_weights(CONFIG))
    loading, go_on = threading.Event(), threading.Event()

    def slow(model: SavedModel) -> Encoder:
        loading.set()
        assert go_on.wait(30)
        return Encoder(model)

    monkeypatch.setattr("retrieval.model.encoder.Encoder", slow)
    encoder = LazyEncoder(model, xla_cache)
    warm = threading.Thread(target=encoder.warm_up)
    warm.start()
    assert loading.wait(30)
    codes = encoder.encode(blobs(2))
    go_on.set()
    warm.join(60)
    assert encoder.uses_jax
    np.testing.assert_allclose(codes, encoder.encode(blobs(2)), atol=1e-5)


def test_what_is_wrong_with_an_image_or_an_embedding_is_said_without_jax(tmp_path: Path) -> None:
    broken = {**random_weights(CONFIG), "encoder.dense.bias": np.full(CONFIG.dim, np.nan, np.float32)}
    encoder = LazyEncoder(model_of(CONFIG, broken), tmp_path)
    with raises(ModelError, "12×13×1", "bad00000", "12×12×1", hint=""):
        encoder.encode(np.zeros((2, 12, 13, 1), np.uint8))
    with raises(BadCode, "bad00000", "finite", hint=""):
        encoder.encode(blobs(1))
    assert not encoder.uses_jax


def test_ingest_starts_jax_in_a_process_for_more_than_a_few_images(saved: SavedModel, tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (FEW + 1, *saved.config.shape.array)).astype(np.uint8)
    with contextlib.closing(EncoderProcess(saved, tmp_path)) as encoder:
        few = [encoder.encode(part) for part in (images[:1], images[1:FEW])]
        assert not multiprocessing.active_children()
        with raises(ModelError, "2×2×1", hint=""):
            encoder.encode(np.empty((1, 2, 2, 1), np.uint8))
        many = encoder.encode(images)
        assert len(multiprocessing.active_children()) == 1
    np.testing.assert_allclose(np.concatenate(few), many[:FEW], atol=1e-5)


def test_a_process_that_is_killed_between_two_batches_is_an_error_and_then_replaced(
    saved: SavedModel, tmp_path: Path
) -> None:
    images = np.zeros((FEW + 1, *saved.config.shape.array), np.uint8)
    with contextlib.closing(EncoderProcess(saved, tmp_path)) as encoder:
        codes = encoder.encode(images)
        (process,) = multiprocessing.active_children()
        process.kill()
        process.join()
        time.sleep(1)  # until the pool has noticed it
        with raises(RetrievalError, "killed", hint="same command again"):
            encoder.encode(images)
        np.testing.assert_array_equal(encoder.encode(images), codes)


def test_ingest_leaves_weights_that_numpy_does_not_know_to_jax(saved: SavedModel, tmp_path: Path) -> None:
    other = dataclasses.replace(saved, weights={**saved.weights, "more": np.zeros(1, np.float32)})
    with contextlib.closing(EncoderProcess(other, tmp_path)) as encoder:
        encoder.encode(np.empty((1, *saved.config.shape.array), np.uint8))
        assert multiprocessing.active_children()
