"""Settings, and the smallest real images."""

from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.config import Settings
from retrieval.sources import Entry, Source, open_source

PGM = b"P5\n1 1\n255\n\x07"
Open = Callable[..., Source]


@pytest.fixture
def settings(own_home: Path) -> Settings:
    return Settings(home=own_home)


@pytest.fixture
def opened(settings: Settings) -> Open:
    """`open_source` with those settings."""
    return lambda spec, **options: open_source(str(spec), settings, **options)


def put(root: Path, *keys: str, data: bytes = PGM) -> Path:
    """Files below root."""
    for key in keys:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def listed(source: Source) -> list[str]:
    return [entry.key for entry in source.entries()]


def only(source: Source) -> Entry:
    (entry,) = source.entries()
    return entry
