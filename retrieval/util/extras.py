"""Packages that only some commands need: the extras of this project, and what is said where one is missing."""

import contextlib
from collections.abc import Iterator

from retrieval.errors import RetrievalError, UsageError

DISTRIBUTION = "retrieval-images"
"""The project's name on the package index."""


def how_to_install(extra: str) -> str:
    """The command that installs an extra.

    >>> how_to_install("heif")
    "pip install 'retrieval-images[heif]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"


@contextlib.contextmanager
def needs(extra: str, what: object, kind: type[RetrievalError] = UsageError, option: str = "") -> Iterator[None]:
    """Raise an error with the command that helps if an import inside the block finds no package of the extra.

    what: what cannot be done without it: the subject of the message
    kind, option: of the error
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "retrieval").startswith("retrieval"):
            raise  # a mistake of ours
        package = str(error.name).partition(".")[0]
        raise kind(
            f"{what} needs {package}, which is not installed", hint=how_to_install(extra), option=option
        ) from error
