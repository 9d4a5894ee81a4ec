"""The model as a run of ingest sees it: made ready only when the first image needs it."""

import contextlib
import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np
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
        self._making = threading.Lock()

    def encode(self, images: UInt8[ndarray, "n h w c"]) -> Float32[ndarray, "n d"]:
        """As Encoder's."""
        with self._making:
            if self._made is None:
                self._made = self._make(self._model)
        return self._made.encode(images)


def warm(encoder: Encoding) -> None:
    """Make it ready in a thread of its own, while images are still listed and read."""

    def work() -> None:
        with contextlib.suppress(Exception):  # the first real call raises it
            encoder.encode(np.empty((0, *encoder.config.image_size, encoder.config.channels), np.uint8))

    # a daemon, cut off inside JAX, would abort the process at its end
    threading.Thread(target=work, name="warm", daemon=False).start()
