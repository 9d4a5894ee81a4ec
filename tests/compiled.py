"""What JAX compiles for the tests, kept in one folder for all processes of a run: a training step takes seconds."""

import tempfile
from pathlib import Path

import jax
from jax._src.lru_cache import LRUCache
from jax.experimental.compilation_cache import compilation_cache

from retrieval.model.encoder import use_compilation_cache


def share(folder: Path) -> None:
    """From now on this process looks there first for what it would compile, and leaves there what it has compiled."""
    new = folder.with_name(f"{folder.name}.new")
    new.mkdir(parents=True, exist_ok=True)

    def put(cache: LRUCache, key: str, value: bytes) -> None:
        """JAX's own writes in place: another process could read half of it, as could all after a kill -9."""
        with tempfile.NamedTemporaryFile(dir=new, delete=False) as file:
            file.write(value)
        Path(file.name).replace(cache.path / f"{key}-cache")

    LRUCache.put = put  # type: ignore[method-assign,assignment]
    use_compilation_cache(folder)
    jax.jit(lambda x: x + 1)(1)  # from its first compilation on, JAX stays with this folder, whatever it is told,
    compilation_cache.reset_cache = lambda: None  # unless it is reset, to that of a home which a later test has lost
