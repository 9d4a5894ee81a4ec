"""Whitens embeddings after training, by relevant component analysis (RCA; Bar-Hillel et al. 2005, JMLR 6:937).

The views of an image form a chunklet. Embeddings are multiplied by the inverse square root of the within-chunklet
covariance, so that Euclidean distance becomes Mahalanobis distance: directions in which views of one image differ count
less. The transform is folded into the encoder's last layer, so encoding costs the same; the decoder inverts it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, UInt8

from retrieval.model.autoencoder import Autoencoder, Params
from retrieval.train.augment import Distortion, make_views

MOST_IMAGES = 8192
SHRINKAGE = 0.05
"""Share of the mean variance that is added to the variance of every direction, so that no weight is unbounded."""

TINY = 1e-8
"""Added to every variance, so that a collapsed embedding causes no division by zero before it is diagnosed."""


def whiten(
    graph: nnx.GraphDef[Autoencoder],
    state: Params,
    images: UInt8[np.ndarray, "n h w c"],
    seed: int,
    how: Distortion | None,
    batch: int,
) -> Params:
    """The state with embeddings centred on these images and whitened.

    state: with batch statistics already recomputed
    images: u8[n, h, w, c] in [0, 255]; the first MOST_IMAGES are used
    how: the augmentation of the views; None: centre only
    batch: images at a time, so that it takes no more memory than training
    """

    @jax.jit
    def features(images: Array, key: Array) -> tuple[Array, ...]:
        model = nnx.merge(graph, state)
        clean = images.astype(jnp.float32) / 255
        seen = [make_views(k, clean, how) for k in jax.random.split(key)] if how else []
        return tuple(model.encoder.features(x) for x in (clean, *seen))

    key = jax.random.key(seed)
    starts = range(0, min(len(images), MOST_IMAGES), batch)
    found = [features(images[start : start + batch], jax.random.fold_in(key, start)) for start in starts]
    clean, *seen = (np.concatenate(parts) for parts in zip(*found, strict=True))
    transform = inverse_square_root(within_covariance(*seen)) if seen else np.eye(clean.shape[1], dtype=np.float32)
    model = nnx.merge(graph, state, copy=True)
    dense = model.encoder.dense
    assert dense.bias is not None
    dense.bias[...] = (dense.bias[...] - clean.mean(axis=0)) @ transform
    dense.kernel[...] = dense.kernel[...] @ transform
    model.decoder.turn_back[...] = jnp.asarray(np.linalg.inv(transform))
    return nnx.state(model)


def within_covariance(*views: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "d d"]:
    """The within-chunklet covariance, from the embeddings of two or more views of each image.

    >>> within_covariance(np.array([[1.0, 0.0], [5.0, 2.0]]), np.array([[3.0, 0.0], [5.0, 2.0]])).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    mean = np.mean(views, axis=0)
    total = np.sum([(view - mean).T @ (view - mean) for view in views], axis=0)
    return np.asarray(total / ((len(views) - 1) * len(mean)), np.float32)


def inverse_square_root(matrix: Float[np.ndarray, "d d"], shrinkage: float = SHRINKAGE) -> Float32[np.ndarray, "d d"]:
    """The symmetric inverse square root of a covariance matrix, to which a share of the mean variance is added.

    >>> np.round(inverse_square_root(np.diag([4.0, 1.0])).astype(float), 2).tolist()
    [[0.49, 0.0], [0.0, 0.94]]
    """
    values, axes = np.linalg.eigh(matrix)
    stretched = axes / np.sqrt(np.maximum(values, 0) + shrinkage * values.mean() + TINY)
    return np.asarray(stretched @ axes.T, np.float32)
