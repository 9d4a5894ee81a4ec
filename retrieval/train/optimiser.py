"""The optimiser, Muon for matrices and AdamW for the rest, and the learning-rate schedule."""

import math
from typing import Any

import optax
from flax import nnx
from optax import contrib

from retrieval.model.autoencoder import Params

LEARNING_RATE = 0.02
"""Peak learning rate, measured in docs/decisions/0006. Muon's updates are scaled to the size of AdamW's."""
CONSISTENT_RMS = 0.2
"""Root mean square of Muon's updates (Liu et al. 2025, arXiv 2502.16982)."""
WEIGHT_DECAY = 1e-4
WARMUP = 0.1
"""Share of the run during which the learning rate rises."""


def make_optimiser(params: Params) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024), which orthogonalises the update of each matrix; vectors get AdamW.

    Here it needs a quarter of AdamW's steps. Convolutions are treated as matrices of inputs × outputs. The learning
    rate is 1: a training step scales the updates by `learning_rate`.
    """

    def matrix(leaf: nnx.Variable[Any]) -> contrib.MuonDimensionNumbers | None:
        axes = tuple(range(leaf.ndim))
        return contrib.MuonDimensionNumbers(axes[:-1], axes[-1:]) if leaf.ndim > 1 else None

    numbers = nnx.map_state(lambda _, leaf: matrix(leaf), params)
    return contrib.muon(
        1.0, weight_decay=WEIGHT_DECAY, consistent_rms=CONSISTENT_RMS, muon_weight_dimension_numbers=numbers
    )


def learning_rate(done: float) -> float:
    """The learning rate: linear warm-up, then cosine decay to zero.

    done: share of the run that is done, in [0, 1]

    >>> learning_rate(0.0), learning_rate(1.0)
    (0.0, 0.0)
    """
    if done < WARMUP:
        return LEARNING_RATE * done / WARMUP
    return LEARNING_RATE * (1 + math.cos(math.pi * (min(done, 1) - WARMUP) / (1 - WARMUP))) / 2
