"""The embedding methods that an evaluation compares: the model and its baselines."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Num, UInt8

from retrieval.evaluate.brute_force import BLOCK
from retrieval.model import saved_models
from retrieval.model.autoencoder import build, to_flat
from retrieval.model.config import TRUNK, ModelConfig
from retrieval.model.encoder import Encoder
from retrieval.model.saved_models import SavedModel
from retrieval.schema.image_shape import ImageShape
from retrieval.train.augment import LUMA
from retrieval.train.data import TRUNK_SIDE

Images = UInt8[np.ndarray, "n h w c"]
Codes = Num[np.ndarray, "n d"]

FROZEN_TRUNK, UNTRAINED = "frozen trunk", "untrained"
ROUNDS = 12
"""Iterations of PCA. On MNIST the result keeps 0.9999 of the variance that exact PCA keeps."""
SPARE = 16
"""Extra components in the iteration, which make it converge sooner (oversampling)."""
HASH_SIDE = 8
"""Frequencies along each side that a perceptual hash keeps: 64 bits."""
HASHED = 1024
"""Images converted to float at a time."""


@dataclass(frozen=True, slots=True)
class Method:
    """One way to embed images.

    name: printed in the report
    codes: maps images u8[n, h, w, c] in [0, 255] to embeddings [n, d]; float, or u8 for raw pixels and bits
    shape: how it takes images, if not as the evaluation set has them
    """

    name: str
    codes: Callable[[Images], Codes]
    shape: ImageShape | None = None


def methods(encoder: Encoder, images: Images, seed: int) -> list[Method]:
    """The model, then the baselines.

    images: at the size that the model draws, `config.drawn_shape`; the trunk, and a model on it, read larger ones

    The baselines are raw pixels, PCA of the same dimension fitted on `images`, a colour histogram if they have colour,
    a perceptual hash, the frozen trunk, and, of a model of pixels, the network without training.
    """
    config = encoder.config
    project = fit_pca(images, config.dim, seed)
    colours = [Method("colour histogram", colour_histogram)] if has_colour(images) else []
    own = config if config.trunk else trunk_config()
    untrained = [] if config.trunk else [Method(UNTRAINED, untrained_encoder(config, seed).encode)]
    return [
        Method(f"model {encoder.fingerprint[:8]}", encoder.encode, config.shape if config.trunk else None),
        Method("raw pixels", lambda images: images.reshape(len(images), -1)),
        Method("PCA", project),
        *colours,
        Method("perceptual hash", perceptual_hash),
        Method(FROZEN_TRUNK, frozen_trunk(own, seed).encode, own.shape),
        *untrained,
    ]


def has_colour(images: Images) -> bool:
    """Whether any image has a pixel that is not grey."""
    return bool((images[..., :1] != images[..., 1:]).any())


def perceptual_hash(images: Images) -> UInt8[np.ndarray, "n 64"]:
    """64 bits of an image, as 0 and 1: which of its lowest frequencies (of the cosine transform) exceed their median.

    The squared Euclidean distance of two is their Hamming distance. The first frequency, the brightness, does not count
    for the median (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions").
    """
    n, height, width, channels = images.shape
    weights = np.array(LUMA if channels == 3 else (1,), np.float32)
    rows, columns = lowest_cosines(height), lowest_cosines(width)
    parts = [
        (rows @ (images[i : i + HASHED] @ weights) @ columns.T).reshape(-1, HASH_SIDE**2) for i in range(0, n, HASHED)
    ]
    frequencies = np.concatenate([np.empty((0, HASH_SIDE**2), np.float32), *parts])
    median = np.median(frequencies[:, 1:], axis=1, keepdims=True)
    bits: np.ndarray = (frequencies > median).astype(np.uint8)
    return bits


def lowest_cosines(side: int) -> Float32[np.ndarray, "8 side"]:
    """The HASH_SIDE lowest waves of the cosine transform (DCT-II) of a side of so many pixels."""
    waves: np.ndarray = np.cos(np.pi / side * np.outer(np.arange(HASH_SIDE), np.arange(side) + 0.5))
    return waves.astype(np.float32)


def trunk_config() -> ModelConfig:
    """The trunk by itself, at the size at which `train` uses it."""
    from retrieval.model.trunk_weights import HEAD

    return ModelConfig((TRUNK_SIDE, TRUNK_SIDE), 3, HEAD, (), (), TRUNK, "crop")


def colour_histogram(images: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n 512"]:
    """The square roots of the shares of an image's pixels that have each of 8×8×8 colours.

    The Euclidean distance of two is √2 times the Hellinger distance of the histograms.
    """
    size = images.shape[1] * images.shape[2]
    red, green, blue = np.moveaxis(images.reshape(len(images), size, 3) >> 5, 2, 0).astype(np.uint16)
    counts = [np.bincount(row, minlength=512) for row in red << 6 | green << 3 | blue]
    shares = np.array(counts, np.float32).reshape(-1, 512) / size
    roots: np.ndarray = np.sqrt(shares)
    return roots


@cache
def frozen_trunk(config: ModelConfig, seed: int) -> Encoder:
    """The trunk's own embedding, of 1,280 numbers: the mean of its last feature map, scaled to length 1.

    Compiled once in a process.
    """
    from retrieval.model.trunk_weights import HEAD, POOLED

    whole = replace(config, dim=HEAD)
    chosen = {"encoder.dense.kernel": np.eye(POOLED, HEAD, HEAD - POOLED, np.float32)}
    return unsaved_encoder(whole, {**initial_weights(whole, seed), **chosen})  # its bias is zero


def untrained_encoder(config: ModelConfig, seed: int) -> Encoder:
    """The same network with its initial weights."""
    return unsaved_encoder(config, initial_weights(config, seed))


def initial_weights(config: ModelConfig, seed: int) -> dict[str, np.ndarray]:
    """The weights of a new network."""
    return {name: np.asarray(array) for name, array in to_flat(build(config, seed)[1]).items()}


def unsaved_encoder(config: ModelConfig, weights: dict[str, np.ndarray]) -> Encoder:
    """An encoder of weights that are in no folder."""
    return Encoder(SavedModel(config, weights, saved_models.fingerprint(config, weights), {}, Path()))


def fit_pca(images: Images, dim: int, seed: int) -> Callable[[Images], Codes]:
    """Fit PCA by orthogonal iteration (Halko et al. 2011, arXiv 0909.4061); returns the projection.

    Passes over the images block by block, so memory grows neither with their number nor with the square of their size.

    images: u8[n, h, w, c]
    dim: number of components; fewer if an image has fewer pixels
    """
    pixels = images.reshape(len(images), -1)
    mean = pixels.mean(axis=0, dtype=np.float64).astype(np.float32)
    size = pixels.shape[1]
    step = max(1, BLOCK // size)
    wanted = min(dim, size)
    start = np.random.default_rng(seed).normal(size=(size, min(wanted + SPARE, size)))
    axes = np.linalg.qr(start.astype(np.float32))[0]

    def multiply_by_covariance(axes: Float32[np.ndarray, "p a"]) -> Float32[np.ndarray, "p a"]:
        blocks = (pixels[first : first + step] - mean for first in range(0, len(pixels), step))
        return sum((block.T @ (block @ axes) for block in blocks), np.zeros_like(axes))

    for _ in range(ROUNDS):
        axes = np.linalg.qr(multiply_by_covariance(axes))[0]
    rotation = np.linalg.eigh(axes.T @ multiply_by_covariance(axes))[1][:, ::-1]  # eigh sorts ascending
    components = axes @ rotation[:, :wanted]

    def project(images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        flat = images.reshape(len(images), -1)
        parts = [(flat[i : i + step] - mean) @ components for i in range(0, len(flat), step)]
        return np.concatenate(parts)

    return project
