"""What stands in for JAX and for worker processes in a job: a tiny encoder that can be worked out by hand."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

from tests.torture.world import SIDE, encode_rows

MODELS = "torture.json"
"""In the home: fingerprint → seed and dimension."""


def keep_jax_out() -> None:
    """Put modules in the place of two that import JAX, which would double what each process that is forked costs.

    They have what jobs take from them: nothing to cache, and a shift as the distortion.
    """
    for name, stand_in in (
        ("retrieval.model.encoder", {"use_compilation_cache": lambda _: None, "Encoder": None}),
        ("retrieval.train.augment", {"distorted_copies": lambda pixels, _: np.roll(pixels, 1, axis=2)}),
    ):
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(stand_in)


def install(home: Path) -> None:
    """Encode with `encode_rows`, and decode in this process."""
    from retrieval import api
    from retrieval.ingest import pipeline
    from retrieval.model import encoder_process
    from retrieval.model.base_encoder import BaseEncoder
    from retrieval.sources import read

    known: dict[str, tuple[int, int]] = json.loads((home / MODELS).read_text())

    class TinyEncoder(BaseEncoder):
        def _encode(self, images: np.ndarray) -> np.ndarray:
            return encode_rows(images, *known[self.fingerprint])

        def decode(self, codes: np.ndarray) -> np.ndarray:
            return np.full((len(codes), SIDE, SIDE, 1), 0.5, np.float32)

        def warm_up(self) -> None:
            """There is nothing to load."""

    def encode(self: Any, images: np.ndarray) -> np.ndarray:
        return encode_rows(images, *known[self.fingerprint])

    def read_here(items: Any, shape: Any, **_: Any) -> Any:
        return read.read_serially((item for item in items if item is not None), shape)

    encoder_process.EncoderProcess.encode = encode  # type: ignore[method-assign]
    vars(pipeline)["read_images"] = read_here
    vars(api)["make_lazy_encoder"] = lambda _, model: TinyEncoder(model.config, model.fingerprint)


def use_jax_for_few() -> None:
    """Let an ingest start JAX for two images, where more than 64 are needed else."""
    from retrieval.ingest import pipeline
    from retrieval.model import encoder_process

    vars(pipeline)["FEW"] = vars(encoder_process)["FEW"] = 1


def tune_few() -> None:
    """Let `tune` take a collection of a few images, and try two indexes."""
    from retrieval.reindex import tune, tune_candidates

    tune.FEWEST, tune.QUERIES, tune.WARM = 1, 4, 0
    vars(tune_candidates)["BUILDS"] = tune_candidates.BUILDS[:2]
    vars(tune)["CALM"] = 1
