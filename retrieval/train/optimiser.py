"""Muon for the matrices, AdamW for the rest, and a rate that rises briefly and falls to zero."""

import math
from typing import Any

import optax
from flax import nnx
from optax import contrib

from retrieval.model.autoencoder import Params

LEARNING_RATE = 0.02
"""Of Muon, whose steps have the size of AdamW's here (`consistent_rms`); chosen in docs/decisions/0006."""
CONSISTENT_RMS = 0.2
"""Liu et al. 2025, arXiv 2502.16982."""
WEIGHT_DECAY = 1e-4
WARMUP = 0.1
"""Share of the run."""


def make_optimiser(params: Params) -> optax.GradientTransformation:
    """Steps of rate 1: `learning_rate` scales them. Muon (Jordan et al. 2024) makes a matrix's update orthogonal.

    It learns in a quarter of AdamW's steps here. Convolutions are matrices of inputs × outputs; vectors get AdamW.
    """

    def matrix(leaf: nnx.Variable[Any]) -> contrib.MuonDimensionNumbers | None:
        axes = tuple(range(leaf.ndim))
        return contrib.MuonDimensionNumbers(axes[:-1], axes[-1:]) if leaf.ndim > 1 else None

    numbers = nnx.map_state(lambda _, leaf: matrix(leaf), params)
    return contrib.muon(
        1.0, weight_decay=WEIGHT_DECAY, consistent_rms=CONSISTENT_RMS, muon_weight_dimension_numbers=numbers
    )


def learning_rate(done: float) -> float:
    """The learning rate when a share of the run is done, in [0, 1]: up in a line, down along a cosine.

    >>> learning_rate(0.0), learning_rate(1.0)
    (0.0, 0.0)
    """
    if done < WARMUP:
        return LEARNING_RATE * done / WARMUP
    return LEARNING_RATE * (1 + math.cos(math.pi * (min(done, 1) - WARMUP) / (1 - WARMUP))) / 2
