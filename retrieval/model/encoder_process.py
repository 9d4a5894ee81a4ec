"""The encoder of an ingest: the first few images in NumPy, more of them by JAX in a process of its own."""

import contextlib
import functools
import threading
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy import ndarray

from retrieval.errors import RetrievalError
from retrieval.model.base_encoder import encode_checked
from retrieval.model.config import ModelConfig
from retrieval.model.lazy_encoder import FEW
from retrieval.model.numpy_network import NumpyNetwork
from retrieval.model.saved_models import SavedModel, load
from retrieval.schema.arrays import Float32, UInt8
from retrieval.sources.read import block_ctrl_c, start_pool
from retrieval.util.reporting import ReportNote, ignore

COMPILING = "compiling, kept for the next time"


class ImageEncoder(Protocol):
    """The part of `retrieval.model.encoder.Encoder` that ingest needs."""

    config: ModelConfig
    fingerprint: str

    def encode(self, images: UInt8[ndarray, "n h w c"]) -> Float32[ndarray, "n d"]: ...


class EncoderProcess:
    """An encoder that encodes the first few images here in NumPy, so that a run with few changes needs no JAX.

    With more images it starts a process with JAX, which here would compete with the threads that list, compare and
    write.
    """

    def __init__(self, model: SavedModel, xla_cache: Path, note: ReportNote = ignore) -> None:
        """`note` is called when the process has loaded the model and compiles it, which the first images wait for."""
        self.config, self.fingerprint = model.config, model.fingerprint
        self._model, self._xla_cache, self._note = model, xla_cache, note
        self._compiled = False
        self._left = FEW
        self._process: Executor | None = None
        self._starting = threading.Lock()

    def encode(self, images: UInt8[ndarray, "n h w c"]) -> Float32[ndarray, "n d"]:
        """As `Encoder.encode`; no images only start the process. Raises RetrievalError when the process was killed."""
        try:
            with self._starting:
                if self._process is None and 0 < len(images) <= self._left and (few := self._network):
                    self._left -= len(images)
                    return encode_checked(self.config, self.fingerprint, images, few.encode)
                if self._process is None:
                    self._process = start_pool(1)
                cold = len(images) > 0 and not self._compiled
                self._compiled |= cold
                parts = [images[:0], images] if cold else [images]
                with block_ctrl_c():
                    made = [
                        self._process.submit(encode_in_process, self._model.path, self._xla_cache, part)
                        for part in parts
                    ]
            if cold:
                made[0].result()
                self._note(COMPILING)
            return made[-1].result()
        except BrokenExecutor as error:
            self.close()
            raise RetrievalError(
                "the encoder's process was killed (out of memory?)", hint="run the same command again"
            ) from error

    @functools.cached_property
    def _network(self) -> NumpyNetwork | None:
        """None for weights that it does not know; JAX then says what is wrong."""
        try:
            return NumpyNetwork(self.config, self._model.weights)
        except LookupError:
            return None

    def close(self) -> None:
        """End the process. The next image starts a new one."""
        with self._starting:
            if self._process is not None:
                self._process.shutdown(cancel_futures=True)
                self._process, self._compiled = None, False


def encode_in_process(model: Path, xla_cache: Path, images: UInt8[ndarray, "n h w c"]) -> Float32[ndarray, "n d"]:
    """Encode images; runs in the encoder's process."""
    return load_encoder(model, xla_cache).encode(images)


@functools.cache
def load_encoder(model: Path, xla_cache: Path) -> ImageEncoder:
    """Load the model, once per process."""
    from retrieval.model.encoder import Encoder, use_compilation_cache

    use_compilation_cache(xla_cache)
    return Encoder(load(model))


def warm_up(encoder: ImageEncoder) -> None:
    """Start the encoder in a thread, while images are being listed and read."""

    def work() -> None:
        with contextlib.suppress(Exception):  # the first real call raises it
            encoder.encode(np.empty((0, *encoder.config.shape.array), np.uint8))

    # a daemon thread that is inside JAX when Python ends would abort the process
    threading.Thread(target=work, name="warm", daemon=False).start()
