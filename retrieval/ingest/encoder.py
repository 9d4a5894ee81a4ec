"""The model as a run of ingest sees it: made ready only when the first image needs it."""

from collections.abc import Callable
from typing import Protocol

from jaxtyping import Float32, UInt8
from numpy import ndarray

from retrieval.architecture import ModelConfig
from retrieval.checkpoint import SavedModel


class Encoding(Protocol):
    """What ingest needs of `retrieval.encode.Encoder`."""

    config: ModelConfig
    fingerprint: str

    def encode(self, images: UInt8[ndarray, "n h w c"]) -> Float32[ndarray, "n d"]: ...


class LateEncoder:
    """A run that encodes nothing never imports JAX."""

    def __init__(self, model: SavedModel, make: Callable[[SavedModel], Encoding]) -> None:
        self.config, self.fingerprint = model.config, model.fingerprint
        self._model, self._make = model, make
        self._made: Encoding | None = None

    def encode(self, images: UInt8[ndarray, "n h w c"]) -> Float32[ndarray, "n d"]:
        """As Encoder's."""
        if self._made is None:
            self._made = self._make(self._model)
        return self._made.encode(images)
