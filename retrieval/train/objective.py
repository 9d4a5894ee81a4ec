"""What training minimises: a clean picture from a distorted view, one code for two views, a code that stays alive."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Key

from retrieval.model import Autoencoder, Params
from retrieval.train.distort import views

COVARIANCE_WEIGHT = 0.04
"""VICReg's own ratio of covariance to variance, 1 : 25."""

Terms = dict[str, Array]


def loss(
    graph: nnx.GraphDef[Autoencoder], params: Params, images: Float[Array, "b h w c"], key: Key[Array, ""]
) -> tuple[Array, Terms]:
    """The loss of a batch of clean images in [0,1], and its terms.

    Reconstruction of the clean image from a view of it (binary cross-entropy, mean over pixels); agreement of the
    codes of two views; variance and covariance terms on the codes themselves, as in VICReg (Bardes et al. 2022,
    arXiv 2105.04906) but with no expander, which measured worse.
    """
    model = nnx.merge(graph, params)
    first, second = jax.random.split(key)
    codes = model.encoder(jnp.concatenate([views(first, images), views(second, images)]))
    a, b = jnp.split(codes, 2)
    terms = {
        "reconstruction": optax.sigmoid_binary_cross_entropy(model.decoder(a), images).mean(),
        "agreement": jnp.mean((a - b) ** 2),
        "spread": dead(a) + dead(b),
        "correlation": COVARIANCE_WEIGHT * (covariance(a) + covariance(b)),
    }
    return jnp.sum(jnp.stack(list(terms.values()))), terms


def dead(codes: Float[Array, "b d"]) -> Float[Array, ""]:
    """Mean over dimensions of max(0, 1 − standard deviation): 0 when all vary, 1 when the code is constant."""
    return jnp.maximum(0, 1 - jnp.sqrt(codes.var(axis=0) + 1e-4)).mean()


def covariance(codes: Float[Array, "b d"]) -> Float[Array, ""]:
    """Sum of squared covariances between different dimensions, divided by their number."""
    centred = codes - codes.mean(axis=0)
    matrix = centred.T @ centred / (codes.shape[0] - 1)
    return (jnp.sum(matrix**2) - jnp.sum(jnp.diag(matrix) ** 2)) / codes.shape[1]
