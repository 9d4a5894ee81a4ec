"""Files and folders at any URL that fsspec supports: thread-safe, and with a time limit on each request."""

import contextlib
import datetime as dt
import re
import threading
from collections.abc import Mapping
from typing import Any, BinaryIO, cast

from retrieval.errors import SourceError
from retrieval.util.extras import how_to_install

SECONDS = 300.0
"""Time limit for one request with its retries. Applies to asynchronous file systems (S3, Google, Azure, HTTP); the
others have their own limits."""

_SECRET = re.compile(
    r"://[^/@:]*:(?!\d*(?:/|$))[^@]*@"  # user:password@, but not host:8080/a@b
    r"|[?&][^=&]*(?:credential|key|passw|secret|sig|token)[^=&]*=",
    re.IGNORECASE,
)
_NEEDS = dict.fromkeys(("s3", "s3a", "http", "https"), how_to_install("s3"))
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TIMES = ("LastModified", "last_modified", "mtime")
"""Names of the time of the last change: S3, Azure, the others."""


class UrlPath:
    """A file or folder at a URL. Nothing is cached between calls, so that each listing is current."""

    def __init__(self, url: str) -> None:
        """Raises SourceError for a protocol that is unknown or not installed, and for a URL that holds a secret."""
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
        # File systems that are not asynchronous use one connection.
        self._turn: contextlib.AbstractContextManager[Any] = (
            contextlib.nullcontext() if self.fs.async_impl else threading.Lock()
        )

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of the file system; raises what that raises, TimeoutError included.

        fsspec reports every failure of HTTP as a missing file; the error behind it is raised instead.
        """
        if self.fs.async_impl:
            options["timeout"] = SECONDS
        with self._turn:
            try:
                return getattr(self.fs, method)(*args, **options)
            except FileNotFoundError as error:
                cause = error.__cause__
                missing = isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in (404, 410)
                if cause is None or missing or not self.protocol.startswith("http"):
                    raise
                raise cause from error

    def open(self) -> BinaryIO:
        """Open the file to read and seek; raises SourceError."""
        try:
            return cast(BinaryIO, self.fs.open(self.path, "rb"))
        except Exception as error:  # each protocol fails in its own ways
            raise SourceError(f"{self.url} cannot be opened: {one_line(error)}") from error

    def mtime_ns(self) -> int:
        """Time of the file's last change; 0 if unknown. Raises SourceError."""
        return mtime_ns(self._info())

    def state(self) -> tuple[object, ...]:
        """A value that changes when the file changes: size, time and ETag; raises SourceError."""
        info = self._info()
        return info.get("size"), mtime_ns(info), info.get("ETag") or info.get("etag")

    def _info(self) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self.call("info", self.path)
        except Exception as error:  # each protocol fails in its own ways
            raise SourceError(f"{self.url} cannot be opened: {one_line(error)}") from error
        return found


def refuse_secrets(url: str) -> None:
    """Raise SourceError for a URL with a password, key or signature, because a source's URL is stored.

    The message does not repeat the secret.
    """
    if _SECRET.search(url):
        raise SourceError(
            f"the {url.partition('://')[0]}:// URL holds a password, key or signature, and a source's URL is stored"
            " with the collection",
            hint="leave it out, and pass it by the protocol's own settings (AWS_ACCESS_KEY_ID …)",
        )


def mtime_ns(info: Mapping[str, Any]) -> int:
    """Time of the last change in a file system's record of a file, in nanoseconds since 1970; 0 if unknown."""
    value = next((info[name] for name in _TIMES if info.get(name) is not None), 0)
    if isinstance(value, dt.datetime):
        value = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return (value - _EPOCH) // dt.timedelta(microseconds=1) * 1000
    return int(value * 10**9) if isinstance(value, int | float) else 0


def one_line(error: BaseException) -> str:
    """The error in one line; for a missing file, many protocols report only its path."""
    if isinstance(error, FileNotFoundError) and "exist" not in str(error):
        return "no such file or folder"
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS:.0f} s"
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__
