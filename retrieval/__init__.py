"""Find the images that look like a given image, in collections that nobody has labelled."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.api import Index
    from retrieval.async_api import AsyncIndex
    from retrieval.search.query import Stored

__version__ = "0.1.0"
__all__ = ["AsyncIndex", "Index", "Stored"]


def __getattr__(name: str) -> Any:
    """Import these classes on first use, so that the command line starts without them."""
    if name == "AsyncIndex":
        from retrieval.async_api import AsyncIndex

        return AsyncIndex
    if name == "Index":
        from retrieval.api import Index

        return Index
    if name == "Stored":
        from retrieval.search.query import Stored

        return Stored
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
