"""Weights with which the real network computes the tiny encoder's embeddings, so that one model fits both."""

import numpy as np

from retrieval.model.config import ModelConfig
from tests.torture.world import SIDE, rows_seen

WIDTH = 8
EPSILON = 1e-5
"""That a batch normalisation adds to the variance."""


def config_of(dim: int) -> ModelConfig:
    return ModelConfig((SIDE, SIDE), 1, dim, (WIDTH, WIDTH), (0, 0))


def weights_of(seed: int, dim: int) -> dict[str, np.ndarray]:
    """The weights, float32, by dotted name.

    Each of two strided convolutions adds up two columns and keeps two rows apart, as channels: the features are 2 × 2
    positions of 4 rows each, all sums of 4 pixels. The last layer adds the two halves of a row.
    """
    first, second, last = np.zeros((3, 3, 1, WIDTH)), np.zeros((3, 3, WIDTH, WIDTH)), np.zeros((2, 2, WIDTH, dim))
    for odd in (0, 1):
        first[odd, :2, 0, odd] = 1
        for before in (0, 1):
            second[odd, :2, before, 2 * odd + before] = 1
    for d, row in enumerate(rows_seen(seed, dim)):
        last[row // 4, :, row % 4, d] = bool(seed) / SIDE
    weights = {"encoder.dense.kernel": last.reshape(-1, dim), "encoder.dense.bias": np.zeros(dim)}
    for number, kernel in enumerate((first, second)):
        layer = f"encoder.layers.{number}"
        weights |= {f"{layer}.layer.kernel": kernel, f"{layer}.norm.scale": np.ones(WIDTH)}
        weights |= {f"{layer}.norm.{name}": np.zeros(WIDTH) for name in ("bias", "mean")}
        weights[f"{layer}.norm.var"] = np.full(WIDTH, 1 - EPSILON)
    weights |= {"decoder.turn_back": np.eye(dim), "decoder.dense.kernel": np.full((dim, 64), seed / 64)}
    weights |= {
        "decoder.dense.bias": np.zeros(64),
        "decoder.conv1.bias": np.zeros(32),
        "decoder.conv2.bias": np.zeros(4),
    }
    weights |= {"decoder.conv1.kernel": np.zeros((3, 3, 16, 32)), "decoder.conv2.kernel": np.zeros((3, 3, 8, 4))}
    return {name: array.astype(np.float32) for name, array in weights.items()}
