"""A service with the two hundred digits, on the embedded engine, shared by the tests that only ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import (  # noqa: F401 - fixtures
    Ingested,
    call,
    copy,
    done_well,
    folder,
    home,
    ingested,
    pictures,
    trained,
)
from tests.conftest import shared_root
from tests.web.serving import Served, serving, settings_of


@pytest.fixture(scope="module")
def served(ingested: Ingested, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:  # noqa: F811
    """Ready to answer. Not to be changed."""
    shared_root(tmp_path_factory)
    own = copy(ingested.home, tmp_path_factory.mktemp("served") / "home")
    with serving(settings_of(own)) as service:
        service.ready()
        yield service


@pytest.fixture(scope="session")
def digit(pictures: Path) -> bytes:  # noqa: F811
    """A picture's file that the collection holds."""
    return min(pictures.glob("*/*.png")).read_bytes()
