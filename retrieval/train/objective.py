"""The training loss: reconstruction of the undistorted image, plus VICReg's terms on the embeddings of two views.

VICReg's terms make embeddings invariant to the distortions, and keep their dimensions active and decorrelated.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Key

from retrieval.model.autoencoder import Autoencoder, Params
from retrieval.train.augment import DRAWN, Distortion, make_views
from retrieval.train.types import Objective

COVARIANCE_WEIGHT = 0.2
"""Five times VICReg's own ratio to the variance term; with 0.04, embeddings of 64 dimensions use only 15 of them."""

Terms = dict[str, Array]


def loss(
    graph: nnx.GraphDef[Autoencoder],
    params: Params,
    images: Float[Array, "b h w c"],
    key: Key[Array, ""],
    objective: Objective = "invariant",
    how: Distortion = DRAWN,
) -> tuple[Array, Terms]:
    """The loss of a batch of undistorted images in [0, 1], and its terms.

    reconstruction: binary cross-entropy between the decoder's output and the clean image, mean over pixels
    invariance, variance, covariance: the terms of VICReg (Bardes et al. 2022, arXiv 2105.04906), computed on the
        embeddings themselves: an expander was measured and was worse

    Batch normalisation uses the batch's own statistics.
    """
    model = nnx.merge(graph, params, copy=True)  # a copy, because the forward pass updates the batch statistics
    model.train()
    if objective == "reconstruction":
        seen = images
    elif objective == "denoising":
        seen = make_views(key, images, how)
    else:
        first, second = jax.random.split(key)
        seen = jnp.concatenate([make_views(first, images, how), make_views(second, images, how)])
    codes = model.encoder.features(seen)
    a = codes[: len(images)]
    terms = {"reconstruction": optax.sigmoid_binary_cross_entropy(model.decoder(a - a.mean(axis=0)), images).mean()}
    if objective == "invariant":
        b = codes[len(images) :]
        terms |= {
            "invariance": jnp.mean((a - b) ** 2),
            "variance": variance_term(a) + variance_term(b),
            "covariance": COVARIANCE_WEIGHT * (covariance_term(a) + covariance_term(b)),
        }
    return jnp.sum(jnp.stack(list(terms.values()))), terms


def variance_term(codes: Float[Array, "b d"]) -> Float[Array, ""]:
    """VICReg's variance term: mean over dimensions of max(0, 1 − standard deviation); 1 if embeddings are constant."""
    return jnp.maximum(0, 1 - jnp.sqrt(codes.var(axis=0) + 1e-4)).mean()


def covariance_term(codes: Float[Array, "b d"]) -> Float[Array, ""]:
    """VICReg's covariance term: sum of squared covariances between dimensions, divided by their number."""
    centred = codes - codes.mean(axis=0)
    matrix = centred.T @ centred / (codes.shape[0] - 1)
    return (jnp.sum(matrix**2) - jnp.sum(jnp.diag(matrix) ** 2)) / codes.shape[1]
