"""One small trained model for all tests."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import UInt8

from retrieval.model import saved_models
from retrieval.model.autoencoder import to_flat
from retrieval.model.encoder import Encoder
from retrieval.model.saved_models import SavedModel
from retrieval.train import loop
from retrieval.train.loop import TrainResult, train
from tests.train.samples import OFTEN, blobs, recipe

PNG = b"\x89PNG\r\n\x1a\n: any bytes will do, saving does not look at them"


@pytest.fixture(scope="package", autouse=True)
def often(xla_cache: Path) -> Iterator[None]:
    """A round, with its checkpoint, every three steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "ROUND_STEPS", OFTEN)
        patch.setattr(loop, "REPORT_STEPS", OFTEN)
        yield


@pytest.fixture(scope="package")
def images() -> UInt8[np.ndarray, "n h w c"]:
    return blobs()


@pytest.fixture(scope="package")
def trained(images: UInt8[np.ndarray, "n h w c"], often: None) -> TrainResult:
    """The run that all others are compared with: never interrupted, no checkpoints."""
    return train(images, recipe())


@pytest.fixture(scope="package")
def weights(trained: TrainResult) -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in to_flat(trained.params).items()}


@pytest.fixture
def saved(tmp_path: Path, trained: TrainResult, weights: dict[str, np.ndarray]) -> SavedModel:
    """The trained model, saved where a test may spoil it."""
    return saved_models.save(tmp_path / "models", recipe().model, weights, dict(trained.metrics), PNG)


@pytest.fixture(scope="package")
def encoder(trained: TrainResult, weights: dict[str, np.ndarray]) -> Encoder:
    mark = saved_models.fingerprint(recipe().model, weights)
    return Encoder(SavedModel(recipe().model, weights, mark, {}, Path("not-saved")))
