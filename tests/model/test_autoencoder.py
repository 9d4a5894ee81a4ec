"""The network: any size, weights flattened and restored, and errors for what does not fit."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from retrieval.errors import ModelError
from retrieval.model.autoencoder import (
    Autoencoder,
    build,
    from_flat,
    pixel_shuffle,
    pixel_unshuffle,
    stage_count,
    to_flat,
)
from retrieval.model.config import TRUNK, ModelConfig
from retrieval.train.recipe import PRESETS, default_network
from tests.errors import raises
from tests.train.samples import CONFIG, blobs


def test_pixel_shuffle_equals_its_definition() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 12)).astype(np.float32)
    expected = np.empty((2, 6, 8, 3), np.float32)
    for b, i, j, c in np.ndindex(expected.shape):
        expected[b, i, j, c] = x[b, i // 2, j // 2, (i % 2) * 6 + (j % 2) * 3 + c]
    np.testing.assert_array_equal(pixel_shuffle(jnp.asarray(x), 2), expected)


def there_and_back(config: ModelConfig, n: int) -> tuple[jax.Array, jax.Array]:
    model = Autoencoder(config, rngs=nnx.Rngs(0))
    codes = model.encoder(jnp.zeros((n, *config.image_size, config.channels)))
    return codes, model.decoder(codes)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("height", range(8, 71, 3))
def test_every_size_has_codes_and_a_reconstruction_of_its_own_shape(height: int, channels: int) -> None:
    for width in (height, 79 - height):  # square, then one side odd; by shape only, nothing is computed
        config = default_network((height, width), channels, 5, PRESETS["tiny"])
        codes, decoded = jax.eval_shape(partial(there_and_back, config, 2))
        assert codes.shape == (2, 5)
        assert decoded.shape == (2, height, width, channels)


@pytest.mark.parametrize("size", [(7, 28), (28, 7), (513, 28), (28, 513), (0, 0)])
def test_sizes_out_of_range_are_refused(size: tuple[int, int]) -> None:
    with raises(ModelError, f"{size[0]}×{size[1]}", 8, 512):
        ModelConfig(size, 1, 4, (8, 8), (0, 0))


def test_other_values_out_of_range_are_refused() -> None:
    with raises(ModelError, "channels = 2", 1, 3):
        replace(CONFIG, channels=2)
    with raises(ModelError, "dim = 0"):
        replace(CONFIG, dim=0)
    with raises(ModelError, "widths = ()"):
        replace(CONFIG, widths=())
    with raises(ModelError, "blocks = (1,)", "widths = (8, 8)"):
        replace(CONFIG, blocks=(1,))


def test_config_round_trips_through_json() -> None:
    assert (
        ModelConfig.from_json({**CONFIG.to_json(), "image_size": [12, 12], "widths": [8, 8], "blocks": [0, 0]})
        == CONFIG
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"depth": 3}, "depth"),
        ({"channels": "grey"}, "grey"),
        ({"image_size": None}, "NoneType"),
        ({"fit": "pad"}, "stretch, crop"),
        ({"stem": 3}, "stem = 3"),
        ({"trunk": "another"}, "another"),
        ({"trunk": TRUNK}, "widths"),
    ],
)
def test_json_that_is_no_config_is_refused(change: dict[str, object], named: str) -> None:
    with raises(ModelError, named):
        ModelConfig.from_json({**CONFIG.to_json(), **change})


def test_config_without_a_field_is_refused() -> None:
    data = CONFIG.to_json()
    del data["dim"]
    with raises(ModelError, "dim"):
        ModelConfig.from_json(data)


@pytest.mark.parametrize(("side", "halvings"), [(8, 2), (16, 2), (28, 3), (32, 3), (64, 4), (128, 5)])
def test_stages_bring_the_shorter_side_to_about_four(side: int, halvings: int) -> None:
    assert stage_count((side, 2 * side)) == halvings


def test_pixel_unshuffle_equals_its_definition() -> None:
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
    expected = np.zeros((2, 3, 2, 12), np.float32)  # the sixth row is of zeros
    for b, i, j, c in np.ndindex(x.shape):
        expected[b, i // 2, j // 2, (i % 2) * 6 + (j % 2) * 3 + c] = x[b, i, j, c]
    np.testing.assert_array_equal(pixel_unshuffle(jnp.asarray(x)), expected)


def test_large_images_in_colour_get_a_stem_that_takes_the_place_of_two_stages() -> None:
    config = default_network((64, 64), 3, 5, PRESETS["small"])
    assert (config.stem, config.widths, config.blocks) == (4, (64, 96, 96), (0, 0, 0))
    assert ModelConfig.from_json(config.to_json()) == config
    for size, channels in (((64, 64), 1), ((32, 32), 3)):
        assert default_network(size, channels, 5, PRESETS["small"]).stem == 2


def test_flattened_weights_encode_the_same() -> None:
    graph, params = build(CONFIG, seed=1)
    flat = {name: np.asarray(array) for name, array in to_flat(params).items()}
    again_graph, again = from_flat(CONFIG, flat)
    images = jnp.asarray(blobs(4) / 255, jnp.float32)

    encode = jax.jit(lambda graph, params: nnx.merge(graph, params).encoder(images), static_argnums=0)
    np.testing.assert_array_equal(encode(graph, params), encode(again_graph, again))
    assert "encoder.layers.0.layer.kernel" in flat
    assert len(flat) == len(jax.tree.leaves(params))


def test_weights_that_do_not_fit_are_refused() -> None:
    flat = to_flat(build(CONFIG, seed=0)[1])
    name = "encoder.dense.bias"
    with raises(ModelError, name, hint=""):
        from_flat(CONFIG, {k: v for k, v in flat.items() if k != name})
    with raises(ModelError, "encoder.wings", hint=""):
        from_flat(CONFIG, {**flat, "encoder.wings": flat[name]})
    with raises(ModelError, name, "(5,)", "(4,)", hint=""):
        from_flat(CONFIG, {**flat, name: jnp.zeros(5)})


def test_the_seed_determines_the_initial_weights() -> None:
    first, same, other = (to_flat(build(CONFIG, seed)[1])["encoder.dense.kernel"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
