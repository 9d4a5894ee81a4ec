"""Training on the trunk: features of the right images, the closed form against its definition, bad collections."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxtyping import UInt8

from retrieval.config import load_settings
from retrieval.errors import ModelError, TrainingError
from retrieval.images.decode import encode_png
from retrieval.images.reduce import block_means
from retrieval.model import saved_models, trunk
from retrieval.model.config import TRUNK, ModelConfig
from retrieval.model.encoder import Encoder
from retrieval.model.saved_models import SavedModel
from retrieval.model.trunk_encoder import pooled
from retrieval.model.trunk_weights import POOLED, SHA256
from retrieval.train import trunk as training
from retrieval.train.closed_form import fit_projection
from retrieval.train.job import train_and_save
from retrieval.train.loop import Progress
from retrieval.train.options import TrainOptions
from retrieval.train.trunk import VIEWS, TrunkRecipe, compute_features, train_on_trunk, trunk_recipe
from retrieval.train.whitening import within_covariance
from tests.errors import raises
from tests.train.samples import blobs, entry
from tests.train.test_job import BROKEN, ListSource

SIDE = 32
OPTIONS = TrainOptions(trunk="photos", image_size=(SIDE, SIDE), dim=4, epochs=2)


@pytest.fixture(scope="module")
def colours() -> UInt8[np.ndarray, "n h w 3"]:
    return blobs(40, SIDE, 3)


def recipe(images: UInt8[np.ndarray, "n h w 3"]) -> TrunkRecipe:
    return trunk_recipe(images, dim=4, epochs=2)


def source(images: UInt8[np.ndarray, "n h w c"]) -> ListSource:
    return ListSource([entry(f"{n}.png", encode_png(image)) for n, image in enumerate(images)])


def pooled_by_itself(images: UInt8[np.ndarray, "n h w 3"]) -> np.ndarray:
    return np.asarray(nnx.jit(pooled)(trunk.load(), jnp.asarray(images)))


def ignore(progress: Progress) -> None:
    pass


def test_features_are_those_of_the_images_in_order(colours: UInt8[np.ndarray, "n h w 3"]) -> None:
    clean, views = compute_features(colours, recipe(colours), ignore, 0.0)
    expected = pooled_by_itself(colours)
    assert (clean.shape, views.shape) == ((40, POOLED), (VIEWS, 40, POOLED))
    np.testing.assert_allclose(clean, expected, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(clean[:, :1280], axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(clean[:, 1280:], axis=1), 1, atol=1e-4)
    assert (np.abs(views - clean).max(axis=2) > 1e-3).all()  # each view is another image
    apart = np.linalg.norm(clean[:, None] - clean, axis=2)
    for view in views:  # and nearer to its own image than an image is to others
        assert np.linalg.norm(view - clean, axis=1).mean() < apart[apart > 0].mean()
    none = replace(recipe(colours).distortion, crop=1.0, flip=False, light=0.0, colour=0.0)
    still = replace(recipe(colours), distortion=none)
    _, same = compute_features(colours, still, ignore, 0.0)
    np.testing.assert_allclose(same, np.broadcast_to(clean, same.shape), atol=2e-3)


def test_the_covariance_of_several_views_equals_its_definition() -> None:
    views = np.random.default_rng(0).normal(size=(3, 7, 2))
    total = np.zeros((2, 2))
    for image in views.transpose(1, 0, 2):
        total += np.cov(image, rowvar=False)
    np.testing.assert_allclose(within_covariance(*views), total / 7, atol=1e-6)


def test_the_projection_shortens_what_views_change_and_keeps_what_images_differ_in() -> None:
    rng = np.random.default_rng(0)
    clean = (rng.normal(size=(500, 6)) * [1, 1, 1, 1, 3, 2]).astype(np.float32) + 5
    views = (clean + rng.normal(size=(4, 500, 6)) * [0.1, 0.1, 0.1, 0.1, 3, 0.1]).astype(np.float32)
    kernel, bias = fit_projection(clean, views, 6, 1e-6)
    np.testing.assert_allclose(within_covariance(clean @ kernel, *(views @ kernel)), np.eye(6), atol=1e-2)
    kernel, bias = fit_projection(clean, views, 3, 0.1)
    codes = clean @ kernel + bias
    assert kernel.flags.c_contiguous
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=1e-4)
    covariance = np.cov(codes, rowvar=False)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=0.05 * covariance.max())
    assert (np.diff(np.diag(covariance)) < 0).all()
    assert np.abs(kernel[5, 0]) > 10 * np.abs(kernel[4, 0])  # the fifth varies most, but between views of an image too


def test_a_saved_model_works_without_its_trunk(colours: UInt8[np.ndarray, "n h w 3"]) -> None:
    settings, seen = load_settings(), list[Progress]()
    listed = source(colours)
    wide, tall = blobs(1, 200, 3)[0][:20], blobs(1, 200, 1)[0][:, :20]
    listed.listed = [*listed.listed, BROKEN, *(entry(f"{p.shape}.png", encode_png(p)) for p in (wide, tall))]
    model, refused = train_and_save([listed], settings, OPTIONS, training=seen.append)
    assert [item.entry for item in refused] == [BROKEN]
    assert sum(p.compiling for p in seen) == 2, "the trunk, and the decoder"
    assert seen[0].compiling
    assert seen[1].loss is None
    assert seen[-1].done == 1
    loaded = saved_models.load(model.path)
    assert loaded.config == ModelConfig((SIDE, SIDE), 3, 4, (), (), TRUNK, "crop")
    assert not any("trunk" in name for name in loaded.weights)
    assert (model.path / "weights.safetensors").stat().st_size < 6_000_000
    encoder = Encoder(loaded)
    codes = encoder.encode(colours)
    features = pooled_by_itself(colours)
    weights = {name.removeprefix("encoder."): array for name, array in loaded.weights.items()}
    hidden = nnx.gelu(features @ weights["hidden.kernel"] + weights["hidden.bias"])
    expected = features @ weights["dense.kernel"] + weights["dense.bias"] + hidden @ weights["added.kernel"]
    np.testing.assert_allclose(codes, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-2)
    assert encoder.decode(codes).shape == (40, 8, 8, 3)
    missed = ((encoder.decode(codes) - block_means(colours, 4) / 255) ** 2).mean(axis=(1, 2, 3))
    assert encoder.unexplained_variance(colours, codes)[3] == pytest.approx(
        missed[3] / (np.var(block_means(colours, 4)[3] / 255) + 1e-3), rel=1e-3
    )
    numbers = json.loads((model.path / "metrics.json").read_text())
    assert (numbers["images"], numbers["trunk"], numbers["fit"], numbers["views"]) == (42, TRUNK, "crop", VIEWS)
    assert numbers["shrinkage"] > 0
    card = (model.path / "README.md").read_text()
    assert f"| network | trunk {TRUNK} |" in card
    assert "Images of another aspect ratio are cropped" in card
    again, _ = train_and_save([listed], settings, OPTIONS)
    assert again.fingerprint == model.fingerprint
    other, _ = train_and_save([listed], settings, replace(OPTIONS, seed=1))
    assert other.fingerprint != model.fingerprint


def test_a_model_of_another_trunk_is_refused(colours: UInt8[np.ndarray, "n h w 3"]) -> None:
    settings = load_settings()
    model, _ = train_and_save([source(colours)], settings, OPTIONS)
    config = json.loads((model.path / "config.json").read_text())
    (model.path / "config.json").write_text(json.dumps({**config, "trunk": "efficientnet-lite0-0123456789abcdef"}))
    with raises(ModelError, model.path / "config.json", "efficientnet-lite0-0123456789abcdef", TRUNK, hint=""):
        saved_models.load(model.path)


def test_the_name_of_the_trunk_is_that_of_its_weights() -> None:
    assert f"efficientnet-lite0-{SHA256[:16]}" == TRUNK


def test_grey_images_get_a_model_that_takes_colour() -> None:
    model, _ = train_and_save([source(blobs(32, 20))], load_settings(), OPTIONS)
    assert (model.config.channels, model.metrics["images"]) == (3, 32)


def test_without_options_the_side_is_fixed_and_the_dimensions_follow_from_the_number() -> None:
    few, more, many = (trunk_recipe(np.zeros((n, SIDE, SIDE, 3), np.uint8)).model.dim for n in (32, 300, 600))
    assert (few, more, many) == (16, 64, 128)


def test_too_few_and_equal_images_are_refused(colours: UInt8[np.ndarray, "n h w 3"]) -> None:
    with raises(TrainingError, 31, 32, hint=""):
        train_on_trunk(colours[:31], recipe(colours))
    with raises(TrainingError, "all 40 images are the same", hint=""):
        train_on_trunk(colours[:1].repeat(40, axis=0), recipe(colours))


def test_a_budget_ends_the_features_early(monkeypatch: pytest.MonkeyPatch) -> None:
    images = blobs(80, SIDE, 3)
    ticks = itertools.count()
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    found = train_on_trunk(images, replace(recipe(images), budget=4.0))
    (warning,) = [text for text in found.warnings if "sufficed" in text]
    assert "of 80 images" in warning
    assert found.metrics["step"] >= 1
    with raises(TrainingError, "0.5 s", 0, 32, hint="budget"):
        train_on_trunk(images, replace(recipe(images), budget=0.5))


def test_a_model_of_pixels_imports_nothing_of_the_trunk(saved: SavedModel) -> None:
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from retrieval.model import saved_models; from retrieval.model.encoder import Encoder\n"
        "encoder = Encoder(saved_models.load(Path(sys.argv[1])))\n"
        "print(encoder.encode(np.zeros((1, *encoder.config.shape.array), np.uint8)).shape)\n"
        "print([name for name in sys.modules if 'trunk' in name])"
    )
    command = [sys.executable, "-c", code, str(saved.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == ["(1, 4)", "[]"]
