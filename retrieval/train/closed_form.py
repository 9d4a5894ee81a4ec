"""The linear layer of a model on the trunk, in closed form: relevant component analysis, then principal components.

Directions in which the views of an image differ are shortened (Bar-Hillel et al. 2005, JMLR 6:937), and of the turned
features the directions in which images differ most are kept.
"""

import numpy as np
from jaxtyping import Float, Float32

from retrieval.train.whitening import inverse_square_root, within_covariance

SHRINKAGE = 1.0
"""Share of the mean variance that is added to the variance of every direction: docs/decisions/0025."""


def choose_shrinkage(clean: Float[np.ndarray, "n p"], views: Float[np.ndarray, "v n p"]) -> float:  # noqa: ARG001
    """How strongly the covariance of the views is shrunk towards equal variances."""
    return SHRINKAGE


def fit_projection(
    clean: Float32[np.ndarray, "n p"], views: Float32[np.ndarray, "v n p"], dim: int, shrinkage: float
) -> tuple[Float32[np.ndarray, "p d"], Float32[np.ndarray, " d"]]:
    """Kernel and bias of the layer that turns features into embeddings before they are brought to length 1.

    clean: features of undistorted images
    views: those of the views of each image
    dim: dimensions that are kept, at most p
    shrinkage: as `choose_shrinkage` gives it
    """
    transform = inverse_square_root(within_covariance(clean, *views), shrinkage)
    mean = clean.mean(axis=0)
    turned = (clean - mean) @ transform
    axes = np.linalg.eigh(turned.T @ turned / len(turned))[1][:, ::-1][:, :dim]  # eigh sorts ascending
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(dim)])  # an axis has two directions: take one for good
    kernel = np.ascontiguousarray(transform @ (axes * signs), np.float32)
    return kernel, np.asarray(-mean @ kernel, np.float32)
