"""Both engines, and the homes that hold a real model."""

from tests.cli.conftest import (  # noqa: F401 - fixtures
    call,
    home,
    ingested,
    pictures,
    trained,
    trained_home,
)
from tests.store.conftest import open_engine, store  # noqa: F401 - fixtures
