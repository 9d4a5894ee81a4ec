"""What every encoder does, whatever computes it. Importing this does not import JAX."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from retrieval.errors import BadCode, ModelError
from retrieval.images.reduce import block_means
from retrieval.model.config import ModelConfig
from retrieval.schema.arrays import Float, Float32, UInt8

Images = UInt8[np.ndarray, "n h w c"]
Codes = Float32[np.ndarray, "n d"]

VARIANCE_OFFSET = 1e-3
"""Added to an image's variance (pixels in [0, 1]), so that a nearly blank image has no huge relative error."""


class BaseEncoder(ABC):
    """A model that is ready to encode and decode; may be used by several threads."""

    def __init__(self, config: ModelConfig, fingerprint: str) -> None:
        self.config, self.fingerprint = config, fingerprint

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        """Embeddings f32[n, D] of length 1 of images u8[n, h, w, c] in [0, 255].

        Raises ModelError for images of another size, BadCode when an embedding is not finite.
        """
        return encode_checked(self.config, self.fingerprint, images, self._encode)

    @abstractmethod
    def _encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        """As `encode`, without the checks."""

    @abstractmethod
    def decode(self, codes: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n h w c"]:
        """What the decoder makes of the codes, in [0, 1]: images of `config.picture` pixels."""

    @abstractmethod
    def warm_up(self) -> None:
        """Load and compile all that any number of images will need."""

    def unexplained_variance(
        self, images: UInt8[np.ndarray, "n h w c"], codes: Float[np.ndarray, "n d"]
    ) -> Float32[np.ndarray, " n"]:
        """Share of each image's variance that its reconstruction misses; 0 is perfect, 1 as bad as its mean grey.

        images: u8[n, h, w, c] in [0, 255]
        codes: their embeddings
        """
        clean = as_drawn(self.config, images).astype(np.float32) / 255
        error = ((self.decode(codes) - clean) ** 2).mean(axis=(1, 2, 3))
        return np.asarray(error / (clean.var(axis=(1, 2, 3)) + VARIANCE_OFFSET), np.float32)


def encode_checked(config: ModelConfig, fingerprint: str, images: Images, encode: Callable[[Images], Codes]) -> Codes:
    """What a model's `encode` makes of the images.

    Raises ModelError for images of another size, BadCode when an embedding is not finite.
    """
    expected = config.shape.array
    if images.shape[1:] != expected:
        given, takes = ("×".join(map(str, shape)) for shape in (images.shape[1:], expected))
        raise ModelError(
            f"images are {given}, but model {fingerprint[:8]} takes {takes}",
            hint="read them at its size",
        )
    codes = encode(images)
    if not np.isfinite(codes).all():
        raise BadCode(f"model {fingerprint[:8]} gives embeddings that are not finite", hint="train again")
    return codes


def as_drawn(config: ModelConfig, images: UInt8[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "n hh ww c"]:
    """Images of a model's size at the size that its decoder draws."""
    return block_means(images, config.image_size[0] // config.picture[0])
