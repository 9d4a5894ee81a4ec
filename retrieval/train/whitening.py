"""The last touch to a trained encoder: distances count most where views of one image differ least.

Relevant component analysis (Bar-Hillel et al. 2005, JMLR 6:937), with the views of an image as what belongs together:
the code is turned by the inverse square root of the covariance within images, so that Euclidean distance becomes
Mahalanobis'. It is folded into the encoder's last layer: encoding costs the same, and the decoder turns it back.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, UInt8

from retrieval.model.autoencoder import Autoencoder, Params
from retrieval.train.augment import Distortion, views

MOST_IMAGES = 8192
SHRINKAGE = 0.05
"""Share of the mean variance added to every direction, so that none counts without limit."""

TINY = 1e-8
"""So that a code that has collapsed can still be told of."""


def whiten(
    graph: nnx.GraphDef[Autoencoder],
    state: Params,
    images: UInt8[np.ndarray, "n h w c"],
    seed: int,
    how: Distortion | None,
    batch: int,
) -> Params:
    """The state, norm layers calibrated, with its codes centred on these images, and turned when there are views.

    `batch` images at a time, so that it takes no more memory than training did.
    """

    @jax.jit
    def features(images: Array, key: Array) -> tuple[Array, ...]:
        model = nnx.merge(graph, state)
        clean = images.astype(jnp.float32) / 255
        seen = [views(k, clean, how) for k in jax.random.split(key)] if how else []
        return tuple(model.encoder.features(x) for x in (clean, *seen))

    key = jax.random.key(seed)
    starts = range(0, min(len(images), MOST_IMAGES), batch)
    found = [features(images[start : start + batch], jax.random.fold_in(key, start)) for start in starts]
    clean, *seen = (np.concatenate(parts) for parts in zip(*found, strict=True))
    turn = inverse_square_root(within_covariance(*seen)) if seen else np.eye(clean.shape[1], dtype=np.float32)
    model = nnx.merge(graph, state, copy=True)
    dense = model.encoder.dense
    assert dense.bias is not None
    dense.bias[...] = (dense.bias[...] - clean.mean(axis=0)) @ turn
    dense.kernel[...] = dense.kernel[...] @ turn
    model.decoder.turn_back[...] = jnp.asarray(np.linalg.inv(turn))
    return nnx.state(model)


def within_covariance(first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "d d"]:
    """The covariance within images, from two codes of each.

    >>> within_covariance(np.array([[1.0, 0.0], [5.0, 2.0]]), np.array([[3.0, 0.0], [5.0, 2.0]])).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    apart = first - second
    return np.asarray(apart.T @ apart / (2 * len(apart)), np.float32)


def inverse_square_root(matrix: Float[np.ndarray, "d d"]) -> Float32[np.ndarray, "d d"]:
    """The inverse square root of a covariance, a little shrunk towards its mean variance; symmetric.

    >>> np.round(inverse_square_root(np.diag([4.0, 1.0])).astype(float), 2).tolist()
    [[0.49, 0.0], [0.0, 0.94]]
    """
    values, axes = np.linalg.eigh(matrix)
    stretched = axes / np.sqrt(np.maximum(values, 0) + SHRINKAGE * values.mean() + TINY)
    return np.asarray(stretched @ axes.T, np.float32)
