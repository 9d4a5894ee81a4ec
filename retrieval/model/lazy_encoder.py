"""An encoder that is ready at once: it encodes the first few images in NumPy, and loads JAX when there are more."""

import threading
from pathlib import Path

import numpy as np

from retrieval.model.base_encoder import BaseEncoder
from retrieval.model.numpy_network import NumpyNetwork
from retrieval.model.saved_models import SavedModel
from retrieval.schema.arrays import Float, Float32, UInt8

FEW = 64
"""Images and embeddings that NumPy processes. Loading JAX takes a second: as long as NumPy takes longer with a hundred
photographs, or with some thousand images of a model without trunk."""


class LazyEncoder(BaseEncoder):
    """A saved model. Weights that the pass in NumPy does not know are left to JAX, which then says what is wrong."""

    def __init__(self, model: SavedModel, xla_cache: Path) -> None:
        """Raises ModelError when the trunk's weights are missing or damaged."""
        super().__init__(model.config, model.fingerprint)
        self._model, self._xla_cache = model, xla_cache
        self._loading, self._left = threading.Lock(), FEW
        self._jax: BaseEncoder | None = None
        self._numpy: NumpyNetwork | None = None
        try:
            self._numpy = NumpyNetwork(model.config, model.weights)
        except LookupError:
            self._load()

    def _encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        return self._choose(len(images)).encode(images)

    def decode(self, codes: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n h w c"]:
        return self._choose(len(codes)).decode(codes)

    @property
    def uses_jax(self) -> bool:
        """Whether JAX has been loaded, to process all that comes."""
        return self._jax is not None

    def warm_up(self) -> None:
        """Load JAX and compile; until then, other threads go on in NumPy."""
        self._load().warm_up()

    def _choose(self, number: int) -> BaseEncoder | NumpyNetwork:
        """What is to process so many images."""
        self._left -= number
        network = self._numpy
        return network if network is not None and self._left >= 0 else self._load()

    def _load(self) -> BaseEncoder:
        """Load JAX, once. Raises ModelError for weights that do not fit the config."""
        with self._loading:
            if self._jax is None:
                from retrieval.model.encoder import Encoder, use_compilation_cache

                use_compilation_cache(self._xla_cache)
                self._jax, self._numpy = Encoder(self._model), None
            return self._jax
