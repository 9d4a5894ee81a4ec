"""Encoders without a network: fast, so that tests can re-index often, and faulty in ways that the gate must detect."""

import hashlib

import numpy as np
from jaxtyping import Float32, UInt8

from retrieval.model.config import ModelConfig

SIDE = 8


class Shades:
    """The embedding is the image's mean brightness, and how patches chosen by the seed differ from it."""

    def __init__(self, seed: int = 0, dim: int = 4) -> None:
        self.config = ModelConfig((SIDE, SIDE), 1, dim, (8, 8), (0, 0))
        self.fingerprint = hashlib.sha256(f"{type(self).__name__} {seed} {dim}".encode()).hexdigest()
        self._patches = np.random.default_rng(seed).integers(0, SIDE - 3, (dim, 2)).tolist()

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        light = images.reshape(len(images), -1).mean(axis=1) / 255
        patches = [images[:, y : y + 4, x : x + 4].reshape(len(images), -1).mean(axis=1) for y, x in self._patches[1:]]
        codes: np.ndarray = np.stack([light, *(patch / 80 - light * 255 / 80 for patch in patches)], axis=1)
        return codes.astype(np.float32)

    def unexplained_variance(
        self, images: UInt8[np.ndarray, "n h w c"], codes: np.ndarray
    ) -> Float32[np.ndarray, " n"]:
        """There is no decoder, so no query is flagged as without a match."""
        return np.zeros(len(images), np.float32)


class Constant(Shades):
    """All images have the same embedding."""

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        return np.full((len(images), self.config.dim), 0.5, np.float32)


class Blank(Shades):
    """All embeddings are zero."""

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        return np.zeros((len(images), self.config.dim), np.float32)


class Crowded(Shades):
    """Good embeddings, shifted so that all of them are near one distant point."""

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        codes: np.ndarray = super().encode(images) + 8
        return codes.astype(np.float32)


class OneWay(Shades):
    """Embeddings that differ in one direction only."""

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        codes = super().encode(images)
        codes[:, 1:] = codes[:, :1]
        return codes


class NotFinite(Shades):
    """One image in twenty has an embedding that is not finite."""

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        codes = super().encode(images)
        codes[::20, 0] = np.nan
        return codes


class WrongDimension(Shades):
    """Embeddings of a larger dimension than the model's configuration says."""

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        codes = super().encode(images)
        return np.concatenate([codes, codes], axis=1)


class Noise(Shades):
    """Different images have different embeddings, which are random."""

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        seeds = [int(hashlib.sha256(image.tobytes()).hexdigest()[:8], 16) for image in images]
        codes = [np.random.default_rng(seed).normal(size=self.config.dim) for seed in seeds]
        return np.array(codes, np.float32).reshape(len(images), self.config.dim)


class Fickle(Shades):
    """The same image never gets the same embedding twice."""

    def __init__(self, seed: int = 0, dim: int = 4) -> None:
        super().__init__(seed, dim)
        self._rng = np.random.default_rng(seed)

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        codes = super().encode(images) + self._rng.normal(size=(len(images), self.config.dim)) / 10
        return codes.astype(np.float32)
