"""Any URL that fsspec knows: one place on one file system, each call from any thread and with a deadline."""

import contextlib
import datetime as dt
import re
import threading
from collections.abc import Mapping
from typing import Any, BinaryIO, cast

from retrieval.errors import SourceError

SECONDS = 300.0
"""Longest that one request may take, its retries included. It holds for asynchronous file systems (S3, Google,
Azure, HTTP); the others bring limits of their own."""

_SECRET = re.compile(
    r"://[^/@:]*:(?!\d*(?:/|$))[^@]*@"  # user:password@, but not host:8080/a@b
    r"|[?&][^=&]*(?:credential|key|passw|secret|sig|token)[^=&]*=",
    re.IGNORECASE,
)
_NEEDS = {**dict.fromkeys(("s3", "s3a", "http", "https"), "pip install 'retrieval[s3]'")}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TIMES = ("LastModified", "last_modified", "mtime")
"""What file systems call the time of the last change: S3, Azure, the others."""


class UrlPath:
    """A file or folder by URL. Nothing is remembered between calls, so each listing is of what is there now."""

    def __init__(self, url: str) -> None:
        """Raises SourceError for a protocol that is not known or not installed, and for a URL that holds a secret."""
        import fsspec

        refuse_secrets(url)
        self.url = url
        self.protocol = url.partition("://")[0]
        try:
            self.fs: Any
            self.fs, self.path = fsspec.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            advice = f"needs a package that is not installed: {_NEEDS.get(self.protocol, one_line(error))}"
            raise SourceError(f"{url} {advice}") from error
        except Exception as error:  # each protocol fails in its own ways
            raise SourceError(f"{url} cannot be opened: {one_line(error)}") from error
        # Those that are not asynchronous speak over one connection.
        self._turn: contextlib.AbstractContextManager[Any] = (
            contextlib.nullcontext() if self.fs.async_impl else threading.Lock()
        )

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """A method of the file system; raises what it raises, TimeoutError included.

        fsspec's HTTP calls a file missing whatever goes wrong when it looks at it; no answer is then said as such.
        """
        if self.fs.async_impl:
            options["timeout"] = SECONDS
        with self._turn:
            try:
                return getattr(self.fs, method)(*args, **options)
            except FileNotFoundError as error:
                cause = error.__cause__
                if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
                    raise cause from error
                raise

    def open(self) -> BinaryIO:
        """The file, to read and seek in; raises SourceError."""
        try:
            return cast(BinaryIO, self.fs.open(self.path, "rb"))
        except Exception as error:  # each protocol fails in its own ways
            raise SourceError(f"{self.url} cannot be opened: {one_line(error)}") from error

    def mtime_ns(self) -> int:
        """When the file was changed, 0 where that is not known; raises SourceError."""
        return mtime_ns(self._info())

    def state(self) -> tuple[object, ...]:
        """What tells the file from an earlier or later state of it; raises SourceError."""
        info = self._info()
        return info.get("size"), mtime_ns(info), info.get("ETag") or info.get("etag")

    def _info(self) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self.call("info", self.path)
        except Exception as error:  # each protocol fails in its own ways
            raise SourceError(f"{self.url} cannot be opened: {one_line(error)}") from error
        return found


def refuse_secrets(url: str) -> None:
    """Raise SourceError, without repeating it, for a URL with a password or a signature: a source's is written down."""
    if _SECRET.search(url):
        raise SourceError(
            f"the {url.partition('://')[0]}:// URL holds a password, key or signature, and a source's URL is kept"
            " with the collection",
            hint="leave it out, and give it as the protocol's own settings do (AWS_ACCESS_KEY_ID …)",
        )


def mtime_ns(info: Mapping[str, Any]) -> int:
    """Nanoseconds since 1970 of what a file system says about a file; 0 where it does not know."""
    value = next((info[name] for name in _TIMES if info.get(name) is not None), 0)
    if isinstance(value, dt.datetime):
        value = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return (value - _EPOCH) // dt.timedelta(microseconds=1) * 1000
    return int(value * 10**9) if isinstance(value, int | float) else 0


def one_line(error: BaseException) -> str:
    """What went wrong, in one line; protocols often say no more than the path of what is missing."""
    if isinstance(error, FileNotFoundError) and "exist" not in str(error):
        return "no such file or folder"
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS:.0f} s"
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__
